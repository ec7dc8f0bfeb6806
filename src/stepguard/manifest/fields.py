"""The fields of manifest.json, declared once; docs/manifest.md explains them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from stepguard.manifest.agreement import check_agreement
from stepguard.manifest.reading import FILE, Is, check_tree, plain, read_object
from stepguard.manifest.text import check_format, parse, read_text

FORMAT = "stepguard-model"
FORMAT_VERSION = 1


def _is_plain(name: str) -> bool:
    """True for a name that stays inside its folder on every system."""
    return name not in ("", ".", "..", FILE) and not re.search(r"[/\\:\x00-\x1f]", name)


Count = Annotated[int, Is(lambda value: 0 < value < 1 << 31, "a positive whole number")]
Size = Annotated[int, Is(lambda value: 0 <= value < 1 << 53, "a number of bytes")]
Positive = Annotated[float, Is(lambda value: value > 0, "a positive number")]
Share = Annotated[float, Is(lambda value: 0 <= value <= 1, "a number from 0 to 1")]
Sha256 = Annotated[str, Is(lambda text: bool(re.fullmatch("[0-9a-f]{64}", text)), "a sha256")]
PlainName = Annotated[str, Is(_is_plain, "a plain file name")]


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
    def values(self) -> int:
        """Columns of all value heads together."""
        return self.v_heads * self.v_dim

    @property
    def channels(self) -> int:
        """Columns of the convolution: q, k and v."""
        return 2 * self.k_heads * self.k_dim + self.values

    @property
    def conv_floats(self) -> int:
        """Size of a convolution tail: float32 [channels, conv_width - 1]."""
        return self.channels * (self.conv_width - 1)

    @property
    def delta_floats(self) -> int:
        """Size of the recurrent matrices: float32 [v_heads, k_dim, v_dim]."""
        return self.v_heads * self.k_dim * self.v_dim


@dataclass(frozen=True)
class Architecture:
    """Sizes and switches of the model, as the graph has them."""

    name: Literal["llama", "qwen2", "qwen3", "qwen3_5"]
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
class Knot:
    """A margin and its score."""

    margin: float
    score: Share


@dataclass(frozen=True)
class Promise:
    """What the thresholds keep, on data like the calibration data.

    rate: missed unsafe trajectories, or false alarms. fixed-sequence: the rate is at most `target`
    with a probability of 1 - delta; conformal: its mean is. data: hash over the records.
    """

    rate: Literal["fnr", "fpr"]
    target: Share
    rule: Literal["fixed-sequence", "conformal"]
    delta: Share | None
    families: Count
    data: Sha256


@dataclass(frozen=True)
class CalibrationEntry:
    """Calibration of one way of asking: it holds for exactly this model, prompt and settings.

    score = sigmoid(scale * margin + bias), or the line through `knots`; unsure from low to high.
    """

    mode: str
    model: Sha256
    prompt: Sha256
    kv: Literal["fp16", "fp32"]
    activations: Literal["int8", "fp32", "bf16"]
    method: Literal["temperature", "platt", "isotonic"]
    scale: Positive
    bias: float
    low: Share
    high: Share
    knots: tuple[Knot, ...]
    promise: Promise


Target = Literal["verdict", "risk_source", "failure_mode", "real_world_harm"]


@dataclass(frozen=True)
class HeadEntry:
    """A trained head on the normed hidden row at the question's last token.

    It holds for exactly this prompt, asked in this mode. labels: what its outputs mean; of a
    verdict "safe" and "unsafe", for which there is one output, the margin. within, across: how well
    it did by cross-validation over families and over sources; the AUROC of a verdict, else the
    share of right labels; null where the data could not tell. data: hash over the records.
    """

    file: PlainName
    kind: Literal["logistic", "mlp"]
    mode: str
    prompt: Sha256
    labels: tuple[str, ...]
    strength: Positive
    within: Share | None
    across: Share | None
    families: Count
    data: Sha256


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
    """All of manifest.json. `prompt` is read by stepguard.prompt, `diagnosis` by
    stepguard.taxonomy, the files of `heads` by stepguard.heads."""

    stepguard_version: str
    architecture: Architecture
    quantisation: Quantisation
    prompt: Mapping[str, Any]
    taxonomy: str | None
    calibration: tuple[CalibrationEntry, ...]
    heads: Mapping[Target, HeadEntry]
    licence: Licence
    origin: Origin
    files: Mapping[PlainName, FileEntry]
    diagnosis: Mapping[str, Any] | None = None
    format: str = dataclasses.field(default=FORMAT, kw_only=True)
    format_version: int = dataclasses.field(default=FORMAT_VERSION, kw_only=True)

    @property
    def sha256(self) -> str:
        """Names the model: the hash over names and hashes of its files (hex)."""
        return digest(self.files)

    @property
    def base_sha256(self) -> str:
        """The same over all files but those of heads: what hidden rows depend on (hex)."""
        heads = {entry.file for entry in self.heads.values()}
        return digest({name: entry for name, entry in self.files.items() if name not in heads})

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; an absent optional field is left out."""
        result: dict[str, Any] = plain(self)
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
        check_format(value, FORMAT, FORMAT_VERSION)
        check_tree(value)
        manifest: Manifest = read_object(cls, value, "")
        check_agreement(manifest)
        return manifest

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Reads the text of manifest.json. Raises ModelFormatError."""
        return cls.from_dict(parse(text))


def digest(files: Mapping[str, FileEntry]) -> str:
    """The hash over names and hashes of files (hex)."""
    listed = {name: entry.sha256 for name, entry in files.items()}
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def load(folder: str | Path) -> Manifest:
    """Reads manifest.json of a model directory; the other files are not touched.

    Raises:
        ModelFormatError: it is missing, unreadable, damaged, of another format or newer.
    """
    fix = "Give the folder that `stepguard export` wrote."
    return Manifest.from_json(read_text(Path(folder), "the manifest of a model directory", fix))
