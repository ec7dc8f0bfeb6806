"""Where the labels of a diagnosis are read: behind the verdict's question, line by line.

The answer that a guard was trained to write is one text: the verdict, then a line per dimension.
Every line is encoded as a whole, name, label and line break, so that labels are spelt in the tokens
that the guard would write; what all labels of a line have in common is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tokenizers import Tokenizer

from stepguard.errors import TaxonomyError
from stepguard.prompt.answers import DIAGNOSIS, FIRST_TOKEN, FORCED
from stepguard.prompt.labels import open_end
from stepguard.prompt.pieces import Piece, common_length
from stepguard.prompt.stream import encode
from stepguard.prompt.template import Prompt
from stepguard.taxonomy import AnswerLines, Dimension, Entry, Field, Fields, Label, Taxonomy

__all__ = ["diagnosis_mode", "place_fields"]

Ids = list[int]
_LINE_END = "\n"


def diagnosis_mode(prompt: Prompt) -> str:
    """The mode behind whose question a diagnosis is read: one that writes nothing before it."""
    return next(mode for mode in (DIAGNOSIS, FORCED, FIRST_TOKEN) if mode in prompt.modes)


def place_fields(
    prompt: Prompt, tokenizer: Tokenizer, taxonomy: Taxonomy, lines: AnswerLines
) -> Fields:
    """The token ids of the fields of a diagnosis, for a prompt's question.

    Raises TaxonomyError for a dimension of one label, labels that this tokenizer cannot tell apart
    or cannot write, and lines whose tokens depend on their neighbours.
    """
    prompt = prompt.in_mode(diagnosis_mode(prompt))
    asked = [(dimension, name) for dimension, name in lines.fields if taxonomy.of(dimension)]
    if not asked or asked != list(lines.fields[: len(asked)]):
        expected = f"labels of {', '.join(d for d, _ in lines.fields)}, or of the first of them"
        raise TaxonomyError(f"taxonomy {taxonomy.name}", expected=expected, got="others")
    for dimension, _ in asked:
        _check_labels(taxonomy, dimension, tokenizer)
    before, known = _before(prompt, tokenizer, lines)
    end = _end(prompt.question, tokenizer)
    texts = [
        {label.id: name + label.text + _LINE_END for label in taxonomy.of(dimension)}
        for dimension, name in asked
    ]
    if end:  # the last line ends as the chat template ends an answer
        last = texts[-1]
        texts[-1] = {name: text.removesuffix(_LINE_END) for name, text in last.items()}
    texts[0] = {name: before + text for name, text in texts[0].items()}
    _check_borders(texts, tokenizer, taxonomy.name)
    fields = []
    for i, (dimension, name) in enumerate(asked):
        closing = end if i == len(asked) - 1 else []
        ids = {label: encode(tokenizer, text) + closing for label, text in texts[i].items()}
        if i == 0:
            ids = {label: _after(known, found, name) for label, found in ids.items()}
        fields.append(_field(taxonomy.of(dimension), ids, tokenizer))
    return Fields(taxonomy.name, lines.name, tuple(fields))


def _check_labels(taxonomy: Taxonomy, dimension: Dimension, tokenizer: Tokenizer) -> None:
    labels = taxonomy.of(dimension)
    where = f"taxonomy {taxonomy.name}: {dimension}"
    if len(labels) < 2:
        raise TaxonomyError(where, expected="at least two labels", got="one")
    spelt: dict[tuple[int, ...], Label] = {}
    for label in labels:
        ids = tuple(encode(tokenizer, " " + label.text))
        other = spelt.setdefault(ids, label)
        if other is not label:
            got = f"{other.id} and {label.id} with the same tokens"
            raise TaxonomyError(where, expected="labels with tokens of their own", got=got)
    for label in labels:
        written = tokenizer.decode(encode(tokenizer, " " + label.text))
        if written != " " + label.text:
            raise TaxonomyError(
                f"{where}: {label.id}",
                expected="a label that the tokenizer gives back as it is",
                got=f"{written.strip()!r} for {label.text!r}",
                fix="Write it as the tokenizer does.",
            )


def _before(prompt: Prompt, tokenizer: Tokenizer, lines: AnswerLines) -> tuple[str, Ids]:
    """The text since the last border before the answer's first line, and its ids so far: those that
    the question ends with."""
    last = prompt.question[-1] if prompt.question else Piece("")
    if not last.ids:
        text = open_end(prompt.question, tokenizer)[2] if last.text else ""
        known = encode(tokenizer, text)
    elif encode(tokenizer, last.text) == list(last.ids):
        text, known = last.text, list(last.ids)
    else:  # a token of the template, which no text merges with
        text, known = "", []
    if lines.after_verdict:
        text += tokenizer.decode(prompt.labels["unsafe"][0].path) + _LINE_END
    return text, known


def _end(question: Sequence[Piece], tokenizer: Tokenizer) -> Ids:
    """The ids that end an answer: the first token of the template after the trajectory."""
    for piece in question:
        if piece.ids and encode(tokenizer, piece.text) != list(piece.ids):
            return list(piece.ids)
    return []


def _check_borders(texts: list[dict[str, str]], tokenizer: Tokenizer, name: str) -> None:
    """Lines may be read one after the other only where tokens never reach across their border."""
    for lines, following in pairwise(texts):
        for first in lines.values():
            for second in following.values():
                apart = encode(tokenizer, first) + encode(tokenizer, second)
                if encode(tokenizer, first + second) != apart:
                    raise TaxonomyError(
                        f"taxonomy {name}",
                        expected="lines whose tokens end with the line",
                        got=f"{first[-40:]!r} before {second[:40]!r}",
                        fix="Change the end of that label.",
                    )


def _after(known: Ids, ids: Ids, name: str) -> Ids:
    if ids[: len(known)] != known:
        expected = "an answer that leaves the question's tokens as they are"
        raise TaxonomyError(f"the line {name!r}", expected=expected, got="one that merges with it")
    return ids[len(known) :]


def _field(labels: Sequence[Label], ids: dict[str, Ids], tokenizer: Tokenizer) -> Field:
    first, *others = ids.values()
    shared = min(common_length(first, other) for other in others)
    entries = tuple(Entry(label.id, label.text, tuple(ids[label.id][shared:])) for label in labels)
    head = tuple(first[:shared])
    return Field(labels[0].dimension, tokenizer.decode(list(head)), head, entries)
