"""manifest.json: what goes in comes out; everything else is refused, by the path of the field."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.errors import ModelFormatError
from stepguard.manifest import FILE, FORMAT_VERSION, Manifest, load
from tests.front.manifests import change, sample

ROOT = Path(__file__).resolve().parents[2]


def test_round_trip() -> None:
    manifest = Manifest.from_dict(sample())
    assert manifest.to_dict() == json.loads(json.dumps(manifest.to_dict()))
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert json.loads(manifest.to_json()) == sample()


def test_optional_fields_stay_away() -> None:
    value = change(change(sample(), "origin/sha256", ...), "origin/adapter", None)
    manifest = Manifest.from_dict(value)
    assert json.loads(manifest.to_json()) == value


def test_a_hybrid() -> None:
    sizes = dict.fromkeys(("layers", "k_heads", "v_heads", "k_dim", "v_dim", "conv_width"), 1)
    value = change(sample(), "architecture/delta", sizes)
    manifest = Manifest.from_dict(value)
    assert json.loads(manifest.to_json()) == value
    assert manifest.architecture.attention_layers == 1


def test_the_text_is_the_same_every_time() -> None:
    backwards = dict(reversed(sample().items()))
    text = Manifest.from_dict(backwards).to_json()
    assert text == Manifest.from_dict(sample()).to_json()
    assert text.endswith("}\n")
    assert text.startswith('{\n "architecture": {\n  "attention_bias"')


def test_a_whole_number_may_stand_for_a_float() -> None:
    manifest = Manifest.from_dict(change(sample(), "architecture/rope_theta", 10000))
    assert manifest.architecture.rope_theta == 10000.0
    assert type(manifest.architecture.rope_theta) is float


def test_the_hash_names_the_files_and_nothing_else() -> None:
    one = Manifest.from_dict(sample())
    same = Manifest.from_dict(change(sample(), "stepguard_version", "9"))
    other = Manifest.from_dict(change(sample(), "files/weights.bin/sha256", "f" * 64))
    assert one.sha256 == same.sha256 != other.sha256


WRONG: list[tuple[str, object, str]] = [
    ("format", "zip", "manifest.json: format: expected 'stepguard-model'"),
    ("format_version", FORMAT_VERSION + 1, "made by a newer stepguard. Upgrade"),
    ("format_version", 0, "format_version"),
    ("format_version", True, "format_version"),
    ("stepguard_version", ..., "stepguard_version: expected a value, got nothing"),
    ("taxonomy", ..., "taxonomy: expected a value"),
    ("taxonomy", 3, "taxonomy: expected a string, got 3"),
    ("surprise", 1, "surprise: expected no such field, got 1"),
    ("architecture", [], r"architecture: expected an object, got \[\]"),
    ("architecture/layers", ..., "architecture.layers: expected a value"),
    ("architecture/layers", "30", 'architecture.layers: expected a whole number, got "30"'),
    ("architecture/layers", 0, "architecture.layers: expected a positive whole number"),
    ("architecture/layers", 2.0, "architecture.layers: expected a whole number"),
    ("architecture/layers", 1 << 40, "architecture.layers"),
    ("architecture/tied", 1, "architecture.tied: expected true or false"),
    ("architecture/extra", None, "architecture.extra: expected no such field"),
    ("architecture/kv_heads", 3, "architecture.kv_heads: expected a divisor of 4 heads"),
    ("architecture/rotary_dim", 18, "architecture.rotary_dim"),
    ("architecture/rope_scaling", "x", "architecture.rope_scaling: expected an object"),
    ("architecture/epsilon", -1.0, "architecture.epsilon: expected a positive number"),
    ("architecture/rope_theta", 10**400, "architecture.rope_theta: expected a finite number"),
    ("quantisation/requested", "int3", "quantisation.requested: expected one of auto, float32"),
    ("quantisation/linear", {"int3": 1}, r"quantisation.linear \(a key\): expected one of"),
    ("quantisation/linear/int4", 0, "quantisation.linear.int4: expected a positive"),
    ("quantisation/kv", "fp8", "quantisation.kv: expected one of fp16, fp32"),
    ("prompt", None, "prompt: expected an object"),
    ("calibration/0/low", 0.9, r"calibration\[0\].low: expected at most high"),
    ("calibration/0/high", 2.0, r"calibration\[0\].high: expected a number from"),
    ("licence/files", ["COPYING"], "files.COPYING: expected an entry"),
    ("licence/files", [3], r"licence.files\[0\]: expected a string"),
    ("licence/files", "LICENSE", "licence.files: expected a list"),
    ("origin/kind", "pickle", "origin.kind: expected one of gguf, safetensors"),
    ("origin/adapter", {}, "origin.adapter.source: expected a value"),
    ("origin/sha256", "abc", "origin.sha256: expected a sha256"),
    ("files/weights.bin", ..., "files.weights.bin: expected an entry"),
    ("files/weights.bin/sha256", "A" * 64, "files.weights.bin.sha256: expected a sha256"),
    ("files/weights.bin/bytes", -1, "files.weights.bin.bytes: expected a number of bytes"),
]
NAMES = ["../a", "a/b", "..", ".", "", "manifest.json", "a\\b", "a\nb", "a\0b", "c:d"]


@pytest.mark.parametrize(("path", "new", "text"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named(path: str, new: object, text: str) -> None:
    with pytest.raises(ModelFormatError, match=text):
        Manifest.from_dict(change(sample(), path, new))


@pytest.mark.parametrize("name", NAMES)
def test_file_names_stay_in_the_folder(name: str) -> None:
    entry = {"sha256": "0" * 64, "bytes": 1}
    with pytest.raises(ModelFormatError, match="plain file name"):
        Manifest.from_dict(change(sample(), "files", {**sample()["files"], name: entry}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected JSON"),
        (b"{", "expected JSON"),
        (b"\xff\xfe\xfa", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"format": NaN}', "NaN is no JSON"),
        (b'{"format": 1, "format": 1}', "'format' stands twice"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_text_that_is_no_manifest(text: bytes, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        Manifest.from_json(text)


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"No such file.*stepguard export"):
        load(tmp_path)
    (tmp_path / FILE).mkdir()
    with pytest.raises(ModelFormatError, match="directory"):
        load(tmp_path)
    (tmp_path / FILE).rmdir()
    (tmp_path / FILE).write_bytes(b" " * ((16 << 20) + 1))
    with pytest.raises(ModelFormatError, match="at most"):
        load(tmp_path)
    (tmp_path / FILE).write_text(Manifest.from_dict(sample()).to_json())
    assert load(str(tmp_path)) == Manifest.from_dict(sample())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
PATHS = sorted(
    f"{name}/{inner}" if inner else name
    for name, value in sample().items()
    for inner in ("", *(value if isinstance(value, dict) else ()))
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_nothing_else_than_a_named_error(path: str, new: Any) -> None:
    where = FILE
    try:
        Manifest.from_dict(change(sample(), path, new))
    except ModelFormatError as error:
        where = error.where
    assert where.startswith(FILE)


def fields(kind: Any, prefix: str = "") -> list[str]:
    """Dotted paths of all fields, `*` for a name that is free."""
    paths = []
    for name, hint in get_type_hints(kind).items():
        found = [part for part in (hint, *get_args(hint)) if dataclasses.is_dataclass(part)]
        star = ".*" if found and "Mapping" in str(hint) else ""
        paths.append(prefix + name)
        for part in found:
            paths += fields(part, f"{prefix}{name}{star}.")
    return paths


def test_the_page_explains_every_field() -> None:
    page = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert [name for name in fields(Manifest) if name not in listed] == []
    known = {*fields(Manifest)}
    assert [
        n for n in listed if n not in known and not n.startswith(("prompt.", "diagnosis."))
    ] == []
