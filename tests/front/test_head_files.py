"""Head files: what they hold, and that damaged ones are refused by name."""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from stepguard.errors import ModelFormatError, PromptError
from stepguard.heads import Head, question_mode, read_heads, read_tensors, write_tensors
from stepguard.manifest import HeadEntry, Manifest
from stepguard.prompt import Prompt
from tests.front.fakes import make_prompt
from tests.front.manifests import change, sample

HIDDEN = 64
RNG = np.random.default_rng(0)


def tensors(*widths: int) -> dict[str, np.ndarray]:
    found = {"mean": RNG.normal(size=widths[0]), "scale": RNG.random(widths[0]) + 0.5}
    for index, (inner, outer) in enumerate(itertools.pairwise(widths)):
        found[f"weight.{index}"] = RNG.normal(size=(outer, inner))
        found[f"bias.{index}"] = RNG.normal(size=outer)
    return found


def entry(**changes: Any) -> HeadEntry:
    value = change(sample(), "heads", {"verdict": {**sample()["heads"]["verdict"], **changes}})
    return Manifest.from_dict(value).heads["verdict"]


def read(data: bytes, **changes: Any) -> Head:
    return Head.from_bytes(data, entry(**changes), HIDDEN)


def test_the_file_is_that_of_the_reference() -> None:
    given = tensors(HIDDEN, 1)
    data = write_tensors(given)
    found = safetensors.numpy.load(data)
    assert sorted(found) == sorted(given)
    assert all(np.array_equal(found[name], given[name]) for name in given)
    theirs = safetensors.numpy.save(given, metadata={"a": "b"})
    ours = read_tensors(theirs, "a")
    assert all(np.array_equal(ours[name], given[name]) for name in given)


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_outputs_are_those_of_plain_loops(kind: str) -> None:
    given = tensors(HIDDEN, 1) if kind == "logistic" else tensors(HIDDEN, 5, 1)
    head = read(write_tensors(given), kind=kind)
    row = RNG.normal(size=HIDDEN).astype(np.float32)
    value = [(float(x) - m) / s for x, m, s in zip(row, given["mean"], given["scale"], strict=True)]
    if kind == "mlp":
        value = [
            max(sum(w * x for w, x in zip(line, value, strict=True)) + bias, 0.0)
            for line, bias in zip(given["weight.0"], given["bias.0"], strict=True)
        ]
    last = len(given) // 2 - 2
    expected = sum(w * x for w, x in zip(given[f"weight.{last}"][0], value, strict=True))
    assert head.margin(row) == pytest.approx(expected + given[f"bias.{last}"][0], rel=1e-12)
    assert head.to_bytes() == write_tensors(given)


def header(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return value


def with_header(data: bytes, value: object) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + int.from_bytes(data[:8], "little") :]


def damaged() -> dict[str, tuple[bytes, str]]:
    good = tensors(HIDDEN, 1)
    data = write_tensors(good)
    head = header(data)

    def changed(name: str, key: str, value: object) -> bytes:
        return with_header(data, {**head, name: {**head[name], key: value}})

    def other(**new: np.ndarray) -> bytes:
        return write_tensors({**good, **new})

    nan = good["weight.0"].copy()
    nan[0, 3] = np.nan
    return {
        "nothing": (b"", "a header of 0 bytes"),
        "short": (data[:-8], "bytes of data"),
        "long": (data + b"\0" * 8, "bytes of data"),
        "no JSON": (with_header(data, b"{"), "a safetensors header"),
        "deep": (with_header(data, b"[" * 100_000), "a safetensors header"),
        "a list": (with_header(data, [1]), "a safetensors header"),
        "giant header": (b"\xff" * 8 + data[8:], "a header of"),
        "foreign type": (changed("mean", "dtype", "F32"), "mean: expected the type F64"),
        "type of another kind": (changed("mean", "dtype", 3), "mean: expected the type F64"),
        "a gap": (changed("mean", "data_offsets", [0, 512]), "fits its place"),
        "negative": (changed("scale", "shape", [-64]), "fits its place"),
        "huge": (changed("scale", "shape", [1 << 62]), "fits its place"),
        "fractional": (changed("scale", "shape", [64.0]), "fits its place"),
        "no shape": (with_header(data, {**head, "mean": {}}), "a safetensors header"),
        "a tensor less": (write_tensors({"mean": good["mean"]}), "expected the tensors bias.0"),
        "a tensor more": (other(more=np.ones(2)), "expected the tensors"),
        "another model": (write_tensors(tensors(32, 1)), r"mean: expected the shape \(64,\)"),
        "two outputs": (write_tensors(tensors(HIDDEN, 2)), r"the shape \(1, 64\)"),
        "not a number": (other(**{"weight.0": nan}), "weight.0: expected finite numbers"),
        "infinite": (other(mean=np.full(HIDDEN, np.inf)), "mean: expected finite numbers"),
        "scale of zero": (other(scale=np.zeros(HIDDEN)), "scale: expected positive numbers"),
        "two layers": (write_tensors(tensors(HIDDEN, 4, 1)), "expected the tensors"),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_damaged_head_is_refused_by_name(name: str) -> None:
    data, text = damaged()[name]
    with pytest.raises(ModelFormatError, match=f"^head.safetensors.*{text}"):
        read(data)


def test_an_empty_hidden_layer_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="expected the shape"):
        read(write_tensors(tensors(HIDDEN, 0, 1)), kind="mlp")


def test_any_flipped_byte_is_refused_or_read_whole() -> None:
    """The hash refuses it before; but also alone the reader must not fall over."""
    data = bytearray(write_tensors(tensors(HIDDEN, 1)))
    for at in range(400):
        data[at] ^= 0x5A
        with contextlib.suppress(ModelFormatError):
            read(bytes(data))
        data[at] ^= 0x5A


def test_a_head_of_another_prompt_is_refused() -> None:
    prompt = make_prompt()
    contents = {"head.safetensors": write_tensors(tensors(HIDDEN, 1))}

    def read_in(other: Prompt, mode: str = "first_token") -> list[str]:
        value = change(sample(), "heads/verdict/prompt", prompt.asked)
        manifest = Manifest.from_dict(change(value, "heads/verdict/mode", mode))
        return list(read_heads(manifest, contents, other))

    assert read_in(prompt) == ["verdict"]
    mode = replace(prompt.modes["first_token"], thinking=True)
    other = replace(prompt, modes={**prompt.modes, "first_token": mode})
    assert other.id == prompt.id  # the same text, asked in another way
    with pytest.raises(ModelFormatError, match="prompt: expected the guard's prompt"):
        read_in(other)
    with pytest.raises(ModelFormatError, match=r"verdict\.mode: expected one of first_token"):
        read_in(prompt, "forced")


def test_the_mode_needs_a_head() -> None:
    manifest = Manifest.from_dict(sample())
    assert question_mode(manifest, "head") == "first_token"
    assert question_mode(manifest, None) is None
    with pytest.raises(PromptError, match="expected a guard with a head for verdicts"):
        question_mode(Manifest.from_dict(change(sample(), "heads", {})), "head")


@pytest.mark.parametrize(
    ("path", "new", "text"),
    [
        ("heads/verdict/labels", ["unsafe", "safe"], "heads.verdict.labels: expected safe and"),
        ("heads/verdict/file", "weights.bin", "heads.verdict.file: expected a file of its own"),
        ("heads/verdict/file", "other", "files.other: expected an entry"),
        ("heads/verdict/kind", "forest", "heads.verdict.kind: expected one of logistic, mlp"),
        ("heads/other", {}, r"heads \(a key\): expected one of verdict"),
        (
            "heads/risk_source",
            {**sample()["heads"]["verdict"], "labels": ["a", "a"]},
            "heads.risk_source.labels: expected at least two labels, none of them twice",
        ),
    ],
)
def test_what_is_wrong_in_the_manifest_is_named(path: str, new: object, text: str) -> None:
    with pytest.raises(ModelFormatError, match=text):
        Manifest.from_dict(change(sample(), path, new))


def test_heads_are_in_the_models_hash_but_not_in_that_of_its_rows() -> None:
    one = Manifest.from_dict(sample())
    other = Manifest.from_dict(change(sample(), "files/head.safetensors/sha256", "f" * 64))
    weights = Manifest.from_dict(change(sample(), "files/weights.bin/sha256", "f" * 64))
    assert one.sha256 != other.sha256
    assert one.base_sha256 == other.base_sha256 != weights.base_sha256
