"""Which tokenizers are taken, and that the others are refused by name."""

from __future__ import annotations

import copy
import gc
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
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
    for source in (path, json.dumps(TINY)):
        tokenizer = load_tokenizer(source)
        encoding = tokenizer.encode(" abc")
        assert len(encoding.ids) == 4  # no truncation
        assert encoding.offsets[0] == (0, 1)  # and no post-processor that trims


@pytest.mark.parametrize("change", [{}, {"ignore_merges": True}, {"merges": ["a B"]}])
def test_as_the_library_reads_it(change: dict[str, Any]) -> None:
    """The same tokenizer as from its own reader, which takes much longer on large files."""
    plain = {**TINY, "post_processor": None, "truncation": None, "model": TINY["model"] | change}
    plain["model"]["unk_token"] = "!"
    assert (
        load_tokenizer(json.dumps(plain)).to_str() == Tokenizer.from_str(json.dumps(plain)).to_str()
    )


def test_ids_that_the_model_has_no_row_for() -> None:
    rows = len(VOCAB) + 1
    assert load_tokenizer(json.dumps(TINY), rows=rows).get_vocab_size() == rows
    with pytest.raises(
        TokenizerError, match=f"below the model's {rows - 1} rows, got id {rows - 1}"
    ):
        load_tokenizer(json.dumps(TINY), rows=rows - 1)


def test_collection_of_garbage_goes_on() -> None:
    for wanted in (False, True):
        gc.enable() if wanted else gc.disable()
        load_tokenizer(json.dumps(TINY))
        with pytest.raises(TokenizerError, match=r"expected a tokenizer\.json"):
            load_tokenizer("{")
        assert gc.isenabled() == wanted


@pytest.mark.parametrize("merges", [[["a", "b", "c"]], ["a"], [["a", "no such symbol"]], [1], 5])
def test_merges_that_are_none(merges: object) -> None:
    with pytest.raises(TokenizerError, match="expected a readable tokenizer"):
        load_tokenizer(changed("model", "merges", value=merges))


@pytest.mark.parametrize("vocab", [{"a": -1}, {"a": "b"}, {"a": 1 << 40}, ["a"], None])
def test_a_vocabulary_that_is_none(vocab: object) -> None:
    with pytest.raises(TokenizerError, match="expected a readable tokenizer"):
        load_tokenizer(changed("model", "vocab", value=vocab))


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


@pytest.mark.parametrize("source", ["{", "[]", "absent.json", "[" * 100_000])
def test_what_is_no_tokenizer(source: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[1]", "utf-8")
    for where in (source, path, tmp_path / "absent.json"):
        with pytest.raises(TokenizerError, match=r"expected a tokenizer\.json"):
            load_tokenizer(where)


def test_text_is_never_a_path(tmp_path: Path) -> None:
    """The text of a model directory's tokenizer.json was hashed; a file that it names was not."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(TINY), "utf-8")
    with pytest.raises(TokenizerError, match=r"^tokenizer\.json: expected a tokenizer\.json"):
        load_tokenizer(str(path))
