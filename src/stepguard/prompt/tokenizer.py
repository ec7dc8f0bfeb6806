"""Loading the tokenizer of a model directory, and the kinds that the token law holds for."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE

from stepguard.errors import TokenizerError
from stepguard.prompt.law import prove_law

__all__ = ["check_tokenizer", "load_tokenizer"]

_SUPPORTED = "byte-level BPE with a pre-tokenizer"
FOREIGN = "They do not belong to these weights: export the model again."
_FIX = "Export from a checkpoint of the Llama, Qwen or SmolLM families."


def load_tokenizer(source: str | Path, *, rows: int | None = None) -> Tokenizer:
    """A tokenizer from a file, or from the JSON text itself: a string is never taken for a path.

    rows: of the model's embedding; an id that is not below it is refused.

    Post-processor, truncation and padding are dropped: the prompt says every id. Raises
    TokenizerError for any kind but byte-level BPE with a pre-tokenizer, without added tokens.
    """
    where = str(source) if isinstance(source, Path) else "tokenizer.json"
    with _no_collection():
        tokenizer, largest = _read(source, where)
    if rows is not None and largest >= rows:
        expected = f"ids below the model's {rows} rows"
        raise TokenizerError(where, expected=expected, got=f"id {largest}", fix=FOREIGN)
    prove_law(tokenizer, where)
    return tokenizer


def _read(source: str | Path, where: str) -> tuple[Tokenizer, int]:
    """The tokenizer, checked, and its largest id."""
    try:
        data = json.loads(source.read_text("utf-8") if isinstance(source, Path) else source)
    except (OSError, ValueError, RecursionError) as error:
        raise TokenizerError(where, expected="a tokenizer.json", got=str(error)[:200]) from error
    if not isinstance(data, dict):
        raise TokenizerError(where, expected="a tokenizer.json", got=type(data).__name__)
    check_tokenizer(data, where)
    try:
        return _built(data), max(data["model"]["vocab"].values(), default=0)
    except Exception as error:  # tokenizers raises bare Exception for every fault of the file
        raise TokenizerError(
            where, expected="a readable tokenizer", got=str(error)[:200]
        ) from error


def _built(data: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a parsed tokenizer.json that was checked.

    Its model is made from the parsed tables: to read 12 MB of JSON a second time takes the library
    as long again as all the rest.
    """
    model = data["model"]
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    dropped = dict.fromkeys(("post_processor", "truncation", "padding"))
    frame = {**data, **dropped, "model": {**model, "vocab": {}, "merges": []}}
    tokenizer = Tokenizer.from_str(json.dumps(frame))
    names = ("unk_token", "fuse_unk", "ignore_merges")
    options = {name: model[name] for name in names if model.get(name) is not None}
    tokenizer.model = BPE(vocab=model["vocab"], merges=merges, **options)
    return tokenizer


@contextmanager
def _no_collection() -> Iterator[None]:
    """A large tokenizer is half a million lists, none of them garbage: looking takes long."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def check_tokenizer(data: Mapping[str, Any], where: str) -> None:
    """Refuses by name what the token law was not proved for. `data` is the parsed JSON."""
    model = _object(data.get("model"))
    if model.get("type", "BPE" if "merges" in model else None) != "BPE":
        _refuse(where, f"a {model.get('type')} model")
    for name in ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            _refuse(where, f"BPE with {name}")
    if data.get("added_tokens"):
        got = f"{len(data['added_tokens'])} added tokens"
        fix = "The exporter leaves them out: content must not become one."
        raise TokenizerError(where, expected="no added tokens", got=got, fix=fix)
    for part in _parts(data.get("normalizer"), "normalizers"):
        if part.get("type") != "NFC":
            _refuse(where, f"the normaliser {part.get('type')}")
    parts = _parts(data.get("pre_tokenizer"), "pretokenizers")
    for part in parts:
        _check_pre_tokenizer(part, where)
    if not parts or parts[-1].get("type") != "ByteLevel":
        _refuse(where, "no ByteLevel pre-tokenizer at the end")
    if model.get("unk_token") is not None and not _covers_bytes(model):
        _refuse(where, "an unknown token that content can become")


def _check_pre_tokenizer(part: Mapping[str, Any], where: str) -> None:
    kind = part.get("type")
    if kind == "ByteLevel" and part.get("add_prefix_space"):
        _refuse(where, "ByteLevel with add_prefix_space")
    if kind == "Split" and (part.get("behavior") != "Isolated" or part.get("invert")):
        _refuse(where, f"Split with behaviour {part.get('behavior')}")
    if kind not in ("ByteLevel", "Split", "Digits"):
        _refuse(where, f"the pre-tokenizer {kind}")


def _covers_bytes(model: Mapping[str, Any]) -> bool:
    from tokenizers.pre_tokenizers import ByteLevel

    return all(symbol in model["vocab"] for symbol in ByteLevel.alphabet())


def _parts(data: object, inner: str) -> list[Mapping[str, Any]]:
    part = _object(data)
    if part.get("type") == "Sequence":
        return [_object(entry) for entry in part.get(inner, [])]
    return [part] if part else []


def _object(data: object) -> Mapping[str, Any]:
    return data if isinstance(data, dict) else {}


def _refuse(where: str, got: str) -> None:
    raise TokenizerError(where, expected=_SUPPORTED, got=got, fix=_FIX)
