"""Trained heads: small functions of the normed hidden row at the question's last token.

A head is a file of the model directory in the safetensors format, float64 throughout: `mean` and
`scale` standardise the row, then layers `weight.0`, `bias.0` ... with max(x, 0) between them. Its
entry in the manifest says what the outputs mean.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stepguard.errors import ModelFormatError, PromptError
from stepguard.manifest import HeadEntry, Manifest
from stepguard.prompt import Prompt

HEAD = "head"
"""The mode in which the head of the verdict is read."""
_FIX = "Fit it again: stepguard head fit"
_LAYERS = {"logistic": 1, "mlp": 2}
_MOST_BYTES = 1 << 28

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """mean, scale: float64 [hidden]. layers: weight float64 [out, in] and bias float64 [out]."""

    mean: Floats
    scale: Floats
    layers: tuple[tuple[Floats, Floats], ...]

    def outputs(self, hidden: npt.NDArray[np.floating[Any]]) -> Floats:
        """float [..., hidden] -> float64 [..., out]: logits, before any sigmoid or softmax."""
        row: Floats = (hidden.astype(np.float64) - self.mean) / self.scale
        for index, (weight, bias) in enumerate(self.layers):
            row = (np.maximum(row, 0.0) if index else row) @ weight.T + bias
        return row

    def margin(self, hidden: npt.NDArray[np.float32]) -> float:
        """float32 [hidden] -> logit of unsafe minus logit of safe; of a head for the verdict."""
        return float(self.outputs(hidden)[0])

    def to_bytes(self) -> bytes:
        """The file."""
        tensors = {"mean": self.mean, "scale": self.scale}
        for index, (weight, bias) in enumerate(self.layers):
            tensors |= {f"weight.{index}": weight, f"bias.{index}": bias}
        return write_tensors(tensors)

    @classmethod
    def from_bytes(cls, data: bytes, entry: HeadEntry, hidden: int) -> Head:
        """Reads a file of the manifest's `entry`, for rows of `hidden`.

        Raises:
            ModelFormatError: the file is damaged, or of another shape; says what is wrong where.
        """
        tensors, count = read_tensors(data, entry.file), _LAYERS[entry.kind]
        pairs = [(f"weight.{index}", f"bias.{index}") for index in range(count)]
        wanted = sorted(["mean", "scale", *(name for pair in pairs for name in pair)])
        if sorted(tensors) != wanted:
            raise _bad(entry.file, f"the tensors {', '.join(wanted)}", ", ".join(sorted(tensors)))
        outputs = 1 if len(entry.labels) == 2 else len(entry.labels)
        units = tensors["bias.0"].size if count > 1 else outputs
        widths = [hidden, *[units] * (count - 1), outputs]
        shapes: dict[str, tuple[int, ...]] = {"mean": (hidden,), "scale": (hidden,)}
        for index, (weight, bias) in enumerate(pairs):
            shapes |= {weight: (widths[index + 1], widths[index]), bias: (widths[index + 1],)}
        for name, shape in shapes.items():
            if tensors[name].shape != shape or 0 in shape:
                got = str(tensors[name].shape)
                raise _bad(f"{entry.file}: {name}", f"the shape {shape}", got)
            if not np.isfinite(tensors[name]).all():
                raise _bad(f"{entry.file}: {name}", "finite numbers", "others")
        if not (tensors["scale"] > 0).all():
            raise _bad(f"{entry.file}: scale", "positive numbers", "others")
        layers = tuple((tensors[weight], tensors[bias]) for weight, bias in pairs)
        return cls(tensors["mean"], tensors["scale"], layers)


def read_heads(
    manifest: Manifest, contents: Mapping[str, bytes], prompt: Prompt
) -> dict[str, Head]:
    """All heads of a model directory by target, checked.

    Raises:
        ModelFormatError: a head is damaged, or belongs to another prompt than the guard's.
    """
    found: dict[str, Head] = {}
    for target, entry in manifest.heads.items():
        if entry.mode not in prompt.modes:
            expected = f"one of {', '.join(prompt.modes)}"
            raise _bad(f"heads.{target}.mode", expected, repr(entry.mode)[:80])
        asked = prompt.in_mode(entry.mode).asked
        if entry.prompt != asked:
            raise _bad(f"heads.{target}.prompt", f"the guard's prompt {asked}", entry.prompt)
        hidden = manifest.architecture.hidden
        found[target] = Head.from_bytes(contents[entry.file], entry, hidden)
    return found


def question_mode(manifest: Manifest, mode: str | None) -> str | None:
    """The mode of the prompt that asks for an answer in `mode`: for heads, the one of the fit.

    Raises:
        PromptError: the guard has no head for verdicts.
    """
    if mode != HEAD:
        return mode
    if "verdict" not in manifest.heads:
        raise PromptError(
            "mode",
            expected="a guard with a head for verdicts",
            got="one without",
            fix="Fit one: stepguard head fit OUT data.jsonl",
        )
    return manifest.heads["verdict"].mode


def write_tensors(tensors: Mapping[str, Floats]) -> bytes:
    """A safetensors file of float64 tensors, in the order of their names."""
    header: dict[str, Any] = {}
    data = b""
    for name, tensor in sorted(tensors.items()):
        raw = np.ascontiguousarray(tensor, "<f8").tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    return struct.pack("<Q", len(text)) + text + data


def read_tensors(data: bytes, name: str) -> dict[str, Floats]:
    """The tensors of a safetensors file that holds float64 ones without gaps.

    Raises:
        ModelFormatError: it is anything else; `name` is the file's.
    """
    if len(data) > _MOST_BYTES:
        raise _bad(name, f"at most {_MOST_BYTES} bytes", str(len(data)))
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise _bad(name, f"a header of {length} bytes", f"a file of {len(data)} bytes")
    try:
        header = json.loads(data[8 : 8 + length])
        entries = {key: value for key, value in header.items() if key != "__metadata__"}
        order = sorted(entries, key=lambda key: entries[key]["data_offsets"])
        tensors, at, body = {}, 0, memoryview(data)[8 + length :]
        for key in order:
            entry = entries[key]
            kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            if kind != "F64":
                raise _bad(f"{name}: {key}", "the type F64", repr(kind)[:80])
            sizes = all(type(size) is int and 0 <= size <= len(data) for size in shape)
            if not sizes or len(shape) > 2 or [begin, end] != [at, at + 8 * math.prod(shape)]:
                raise _bad(f"{name}: {key}", "a shape that fits its place", repr(entry)[:80])
            if end > len(body):
                raise _bad(f"{name}: {key}", f"{end} bytes of data", str(len(body)))
            tensors[key] = np.frombuffer(body[begin:end], "<f8").reshape(shape)
            at = end
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _bad(name, "a safetensors header", str(error) or type(error).__name__) from error
    if at != len(body):
        raise _bad(name, f"{at} bytes of data", str(len(body)))
    return tensors


def _bad(where: str, expected: str, got: str) -> ModelFormatError:
    return ModelFormatError(where, expected=expected, got=got, fix=_FIX)
