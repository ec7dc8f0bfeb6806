"""Which tokenizers are taken, and that the others are refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from stepguard.errors import TokenizerError
from stepguard.prompt import load_tokenizer

BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
VOCAB = {symbol: i for i, symbol in enumerate(sorted(ByteLevel.alphabet()))}
TINY: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": BYTE_LEVEL,
    "post_processor": BYTE_LEVEL,
    "decoder": BYTE_LEVEL,
    "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
    "model": {"type": "BPE", "vocab": {**VOCAB, "aB": len(VOCAB)}, "merges": [["a", "B"]]},
}


def changed(*path: str, value: Any) -> str:
    data = copy.deepcopy(TINY)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(data)


def split(pattern: str, behavior: str = "Isolated") -> dict[str, Any]:
    parts = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}
    ]
    return {"type": "Sequence", "pretokenizers": [*parts, {**BYTE_LEVEL, "use_regex": False}]}


def test_from_a_file_and_from_text(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(TINY), "utf-8")
    for source in (path, str(path), json.dumps(TINY)):
        tokenizer = load_tokenizer(source)
        encoding = tokenizer.encode(" abc")
        assert len(encoding.ids) == 4  # no truncation
        assert encoding.offsets[0] == (0, 1)  # and no post-processor that trims


def test_nfc_and_known_stages_are_taken() -> None:
    nfc = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    load_tokenizer(changed("normalizer", value=nfc))
    load_tokenizer(changed("pre_tokenizer", value=split(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+")))


@pytest.mark.parametrize(
    ("path", "value", "got"),
    [
        (("model", "type"), "Unigram", "a Unigram model"),
        (("model", "byte_fallback"), True, "BPE with byte_fallback"),
        (("model", "dropout"), 0.1, "BPE with dropout"),
        (("model", "end_of_word_suffix"), "</w>", "BPE with end_of_word_suffix"),
        (("normalizer",), {"type": "Lowercase"}, "the normaliser Lowercase"),
        (("normalizer",), {"type": "NFKC"}, "the normaliser NFKC"),
        (("pre_tokenizer",), None, "no ByteLevel pre-tokenizer at the end"),
        (("pre_tokenizer",), {"type": "Metaspace"}, "the pre-tokenizer Metaspace"),
        (("pre_tokenizer",), {**BYTE_LEVEL, "add_prefix_space": True}, "add_prefix_space"),
        (("pre_tokenizer",), split("x", "Removed"), "Split with behaviour Removed"),
        (("added_tokens",), [{"id": 1, "content": "<s>"}], "1 added tokens"),
        (("model",), {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "a"}, "unknown"),
        (("model", "vocab"), 3, "expected a readable tokenizer"),
        (("pre_tokenizer",), split(r"\p{L}+(?=!)|\p{L}|[^\p{L}]+"), "other ids for 'a|"),
    ],
)
def test_others_are_refused_by_name(path: tuple[str, ...], value: Any, got: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(changed(*path, value=value))
    assert got in str(caught.value)


@pytest.mark.parametrize("source", ["{", "[]", "absent.json"])
def test_what_is_no_tokenizer(source: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[1]", "utf-8")
    for where in (source, path):
        with pytest.raises(TokenizerError, match=r"expected a tokenizer\.json"):
            load_tokenizer(where)
