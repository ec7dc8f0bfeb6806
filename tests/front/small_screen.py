"""A screen of a few words, made with onnx alone: a logit is the largest that any token brings."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models
from tokenizers import pre_tokenizers as pre
from tokenizers.processors import TemplateProcessing

from stepguard import Screen

WORDS = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "attack", "nan", "calm", "a", "b", "c", "d"]
ATTACK = 3.0
"""Margin that the word "attack" brings; every other token brings -2."""


def logit_table() -> np.ndarray:
    """float32 [words, 2]: what a token brings to the labels SAFE and INJECTION."""
    table = np.zeros((len(WORDS), 2), np.float32)
    table[:, 1] = -2.0
    table[WORDS.index("attack"), 1] = ATTACK
    table[WORDS.index("nan")] = np.nan
    return table


def graph(
    table: np.ndarray,
    *,
    kind: int = TensorProto.INT64,
    output: str = "logits",
    types: bool = False,
    flat: bool = False,
) -> onnx.ModelProto:
    """input_ids, attention_mask [batch, length] -> logits [batch, labels]."""
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * types
    shape = ["batch", "length"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["seen"]),
        helper.make_node("ReduceMax", ["seen"], ["largest"], axes=[1], keepdims=0),
        # The maximum alone passes over what is no number.
        helper.make_node("ReduceMean", ["seen"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["largest", "nothing"], ["most"]),
    ]
    if types:
        nodes += [
            helper.make_node("Cast", ["token_type_ids"], ["kinds"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["kinds", "one"], ["many"], keepdims=1),
            helper.make_node("Add", ["most", "many"], ["summed"]),
        ]
    last = "summed" if types else "most"
    final = ("ReduceMax", {"axes": [1], "keepdims": 0}) if flat else ("Identity", {})
    nodes.append(helper.make_node(final[0], [last], [output], **final[1]))
    made = helper.make_graph(
        nodes,
        "screen",
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch"] + [2] * (not flat))],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([-1], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def word_tokenizer() -> Tokenizer:
    """A token per word, with special ones as encoders have them; like theirs it cuts and pads."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre.WhitespaceSplit()
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", "[PAD]"])
    tokenizer.post_processor = TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(pad_id=3, length=16)
    return tokenizer


def slow_down(monkeypatch: pytest.MonkeyPatch, screen: Screen, seconds: float) -> None:
    """Every window of the screen takes at least so long."""
    quick = screen.margin

    def slow(ids: np.ndarray) -> float:
        time.sleep(seconds)
        return quick(ids)

    monkeypatch.setattr(screen, "margin", slow)


def make_screen(folder: Path, *, model: onnx.ModelProto | None = None, **changes: Any) -> Path:
    """The folder of a screen; `changes` are entries of its manifest."""
    folder.mkdir(parents=True)
    made = graph(logit_table()) if model is None else model
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    word_tokenizer().save(str(folder / "tokenizer.json"))
    write_manifest(folder, changes)
    return folder


def write_manifest(folder: Path, changes: Mapping[str, Any]) -> None:
    """A manifest of the files that are there."""
    files = {}
    for name in ("model.onnx", "tokenizer.json"):
        data = (folder / name).read_bytes()
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    value = {
        "format": "stepguard-screen",
        "format_version": 1,
        "stepguard_version": "0",
        "architecture": "words",
        "labels": ["SAFE", "INJECTION"],
        "flagged": ["INJECTION"],
        "threshold": 0.5,
        "window": 10,
        "overlap": 3,
        "begin": [0],
        "end": [1],
        "vocabulary": len(WORDS),
        "licence": {"name": "none", "files": []},
        "origin": {"source": "words", "revision": "none", "packages": {}, "difference": 0.0},
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps({**value, **changes}))
