"""A short proof, at load, that the token law holds for a tokenizer's split pattern."""

from __future__ import annotations

from itertools import product

from tokenizers import Tokenizer

from stepguard.errors import TokenizerError
from stepguard.prompt.stream import advance, encode

__all__ = ["prove_law"]

# What split patterns tell apart; every sequence of three is streamed and compared.
_ATOMS = ("a", "B", "'", "r", "e", " ", "\n", "!", "12", "e\u0301")


def prove_law(tokenizer: Tokenizer, where: str) -> None:
    """Raises TokenizerError if a text of a few characters streams to other ids than at once."""
    for parts in product(_ATOMS, repeat=3):
        held, ids = "", []
        for part in parts:
            read = advance(tokenizer, held, part)
            ids += read.ids
            held = read.held
        ids += encode(tokenizer, held)
        if ids != encode(tokenizer, "".join(parts)):
            got = f"other ids for {'|'.join(parts)!r} in parts"
            fix = "Its split pattern looks further ahead than those of the known families."
            raise TokenizerError(where, expected="a tokenizer that can stream", got=got, fix=fix)
