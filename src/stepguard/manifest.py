"""manifest.json: what an export promises about a model directory, field by field.

The fields are declared once, as frozen dataclasses; reading checks every one of them and names the
path of the first that is wrong. docs/manifest.md explains them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from stepguard.errors import ModelFormatError

FORMAT = "stepguard-model"
FORMAT_VERSION = 1
FILE = "manifest.json"
NEEDED_FILES = ("model.onnx", "tokenizer.json", "weights.bin")
_MOST_BYTES = 16 << 20
_REPAIR = "Export the model again."


class _Is(NamedTuple):
    """A condition beyond the type, and how a message calls it."""

    test: Callable[[Any], bool]
    expected: str


def _is_plain(name: str) -> bool:
    """True for a name that stays inside its folder on every system."""
    return name not in ("", ".", "..", FILE) and not re.search(r"[/\\:\x00-\x1f]", name)


Count = Annotated[int, _Is(lambda value: 0 < value < 1 << 31, "a positive whole number")]
Size = Annotated[int, _Is(lambda value: 0 <= value < 1 << 53, "a number of bytes")]
Positive = Annotated[float, _Is(lambda value: value > 0, "a positive number")]
Share = Annotated[float, _Is(lambda value: 0 <= value <= 1, "a number from 0 to 1")]
Sha256 = Annotated[str, _Is(lambda text: bool(re.fullmatch("[0-9a-f]{64}", text)), "a sha256")]
PlainName = Annotated[str, _Is(_is_plain, "a plain file name")]


@dataclass(frozen=True)
class DeltaLayers:
    """The recurrent layers of a hybrid (Gated DeltaNet): how many, and their sizes."""

    layers: Count
    k_heads: Count
    v_heads: Count
    k_dim: Count
    v_dim: Count
    conv_width: Count

    @property
    def conv_floats(self) -> int:
        """Size of a convolution tail: float32 [channels, conv_width - 1]."""
        channels = 2 * self.k_heads * self.k_dim + self.v_heads * self.v_dim
        return channels * (self.conv_width - 1)

    @property
    def delta_floats(self) -> int:
        """Size of the recurrent matrices: float32 [v_heads, k_dim, v_dim]."""
        return self.v_heads * self.k_dim * self.v_dim


@dataclass(frozen=True)
class Architecture:
    """Sizes and switches of the model, as the graph has them."""

    name: str
    layers: Count
    hidden: Count
    mlp: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    rotary_dim: Count
    rope_theta: Positive
    rope_scaling: Mapping[str, Any] | None
    vocabulary: Count
    context: Count
    tied: bool
    epsilon: Positive
    attention_bias: bool
    qk_norm: bool
    delta: DeltaLayers | None = None

    @property
    def attention_layers(self) -> int:
        """Layers with KV pages."""
        return self.layers - (self.delta.layers if self.delta else 0)


@dataclass(frozen=True)
class Quantisation:
    """How weights and KV pages are stored."""

    requested: Literal["auto", "float32", "int8", "int4"]
    linear: Mapping[Literal["float32", "int8", "int4"], Count]
    table: Literal["float32", "int8"]
    search: str
    kv: Literal["fp16", "fp32"]


@dataclass(frozen=True)
class CalibrationEntry:
    """Calibration of one mode: score = sigmoid(scale * margin + bias), unsure from low to high."""

    scale: Positive
    bias: float
    low: Share
    high: Share


@dataclass(frozen=True)
class Licence:
    """The licence that the checkpoint states, and the files that came with it."""

    name: str
    files: tuple[PlainName, ...]


@dataclass(frozen=True)
class Adapter:
    """A LoRA that was merged into the weights."""

    source: str
    revision: str
    sha256: Sha256


@dataclass(frozen=True)
class Origin:
    """Where the weights come from."""

    kind: Literal["gguf", "safetensors"]
    source: str
    revision: str
    adapter: Adapter | None
    sha256: Sha256 | None = None


@dataclass(frozen=True)
class FileEntry:
    """A file of the model directory."""

    sha256: Sha256
    bytes: Size


@dataclass(frozen=True)
class Manifest:
    """All of manifest.json. `prompt` is read by stepguard.prompt, `heads` by later versions."""

    stepguard_version: str
    architecture: Architecture
    quantisation: Quantisation
    prompt: Mapping[str, Any]
    taxonomy: str | None
    calibration: Mapping[str, CalibrationEntry]
    heads: Mapping[str, Any]
    licence: Licence
    origin: Origin
    files: Mapping[PlainName, FileEntry]
    format: str = dataclasses.field(default=FORMAT, kw_only=True)
    format_version: int = dataclasses.field(default=FORMAT_VERSION, kw_only=True)

    @property
    def sha256(self) -> str:
        """Names the model: the hash over names and hashes of its files (hex)."""
        listed = {name: entry.sha256 for name, entry in self.files.items()}
        return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; an absent optional field is left out."""
        result = dataclasses.asdict(self)
        result["licence"]["files"] = list(self.licence.files)
        if self.origin.sha256 is None:
            del result["origin"]["sha256"]
        return result

    def to_json(self) -> str:
        """The text of manifest.json: sorted keys, one space of indent, a newline at the end.

        Raises:
            ValueError: a number is NaN or infinite, which JSON cannot say.
        """
        return json.dumps(self.to_dict(), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, value: object) -> Manifest:
        """Checks a JSON object and everything in it.

        Raises:
            ModelFormatError: names the path of the field, what was expected and what was found.
        """
        _check_format(value)
        manifest: Manifest = _read_object(cls, value, "")
        _check_agreement(manifest)
        return manifest

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Reads the text of manifest.json. Raises ModelFormatError."""
        try:
            value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins)
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(
                FILE, expected="JSON", got=str(error) or type(error).__name__, fix=_REPAIR
            ) from error
        return cls.from_dict(value)


def load(folder: str | Path) -> Manifest:
    """Reads manifest.json of a model directory; the other files are not touched.

    Raises:
        ModelFormatError: it is missing, unreadable, damaged, of another format or newer.
    """
    path = Path(folder) / FILE
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ModelFormatError(
            str(path),
            expected="the manifest of a model directory",
            got=error.strerror or type(error).__name__,
            fix="Give the folder that `stepguard export` wrote.",
        ) from error
    if len(text) > _MOST_BYTES:
        raise ModelFormatError(
            str(path), expected=f"at most {_MOST_BYTES} bytes", got="more", fix=_REPAIR
        )
    return Manifest.from_json(text)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} stands twice in one object")
    return result


def _check_format(value: object) -> None:
    if not isinstance(value, dict):
        raise _wrong("", "an object", value)
    if value.get("format") != FORMAT:
        raise _wrong("format", repr(FORMAT), value.get("format"))
    version = value.get("format_version")
    if type(version) is not int or version < 1:
        raise _wrong("format_version", f"a whole number from 1 to {FORMAT_VERSION}", version)
    if version > FORMAT_VERSION:
        raise ModelFormatError(
            f"{FILE}: format_version",
            expected=f"at most {FORMAT_VERSION}",
            got=f"{version}: made by a newer stepguard",
            fix="Upgrade: pip install -U stepguard",
        )


def _check_agreement(manifest: Manifest) -> None:
    for name in (*NEEDED_FILES, *manifest.licence.files):
        if name not in manifest.files:
            raise _wrong(f"files.{name}", "an entry", None)
    shape = manifest.architecture
    if shape.heads % shape.kv_heads:
        raise _wrong("architecture.kv_heads", f"a divisor of {shape.heads} heads", shape.kv_heads)
    if shape.rotary_dim > shape.head_dim or shape.rotary_dim % 2:
        expected = f"an even number up to head_dim {shape.head_dim}"
        raise _wrong("architecture.rotary_dim", expected, shape.rotary_dim)
    for mode, entry in manifest.calibration.items():
        if entry.low > entry.high:
            raise _wrong(f"calibration.{mode}.low", f"at most high {entry.high}", entry.low)


def _wrong(path: str, expected: str, got: object) -> ModelFormatError:
    shown = "nothing" if got is None else json.dumps(got, default=repr)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    where = f"{FILE}: {path}" if path else FILE
    return ModelFormatError(where, expected=expected, got=shown, fix=_REPAIR)


_SCALARS: dict[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
}


def _read(kind: Any, value: object, path: str) -> Any:
    """`value` as `kind` (a type annotation of this file), checked all the way down."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found, condition = _read(arguments[0], value, path), arguments[1]
        if not condition.test(found):
            raise _wrong(path, condition.expected, value)
        return found
    if origin in (Union, UnionType):  # always "or null"
        return None if value is None else _read(arguments[0], value, path)
    if origin is Literal:
        if value not in arguments:
            raise _wrong(path, f"one of {', '.join(arguments)}", value)
        return value
    if origin is Mapping:
        return _read_mapping(arguments, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(path, "a list", value)
        items = enumerate(value)
        return tuple(_read(arguments[0], item, f"{path}[{index}]") for index, item in items)
    if kind in _SCALARS:
        return _read_scalar(kind, value, path)
    return value if kind is Any else _read_object(kind, value, path)


def _read_scalar(kind: Any, value: Any, path: str) -> Any:
    if type(value) is kind and (kind is not float or math.isfinite(value)):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return float(value)
    raise _wrong(path, _SCALARS[kind], value)


def _read_mapping(kinds: tuple[Any, ...], value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    key_kind, item_kind = kinds
    prefix = f"{path}." if path else ""
    return {
        _read(key_kind, key, f"{path} (a key)"): _read(item_kind, item, f"{prefix}{key}")
        for key, item in value.items()
    }


def _read_object(kind: Any, value: object, path: str) -> Any:
    """A dataclass from an object that has its fields and no others."""
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{path}." if path else ""
    for name in sorted(value.keys() - fields.keys()):
        raise _wrong(f"{prefix}{name}", "no such field", value[name])
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING:
            raise _wrong(f"{prefix}{name}", "a value", None)
    return kind(**{name: _read(hints[name], value[name], prefix + name) for name in value})
