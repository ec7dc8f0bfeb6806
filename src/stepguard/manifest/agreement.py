"""What entries of a manifest must agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepguard.manifest.reading import wrong

if TYPE_CHECKING:
    from stepguard.manifest.fields import HeadEntry, Manifest, Target

NEEDED_FILES = ("model.onnx", "tokenizer.json", "weights.bin")
VERDICT_LABELS = ("safe", "unsafe")


def check_agreement(manifest: Manifest) -> None:
    """Raises ModelFormatError that names the entry at fault."""
    heads = [entry.file for entry in manifest.heads.values()]
    for name in (*NEEDED_FILES, *manifest.licence.files, *heads):
        if name not in manifest.files:
            raise wrong(f"files.{name}", "an entry", None)
    shape = manifest.architecture
    if shape.heads % shape.kv_heads:
        raise wrong("architecture.kv_heads", f"a divisor of {shape.heads} heads", shape.kv_heads)
    if shape.rotary_dim > shape.head_dim or shape.rotary_dim % 2:
        expected = f"an even number up to head_dim {shape.head_dim}"
        raise wrong("architecture.rotary_dim", expected, shape.rotary_dim)
    for target, head in manifest.heads.items():
        _check_head(target, head)
    for index, entry in enumerate(manifest.calibration):
        if entry.low > entry.high:
            raise wrong(f"calibration[{index}].low", f"at most high {entry.high}", entry.low)


def _check_head(target: Target, head: HeadEntry) -> None:
    if head.file in NEEDED_FILES:
        raise wrong(f"heads.{target}.file", "a file of its own", head.file)
    where = f"heads.{target}.labels"
    if target == "verdict" and head.labels != VERDICT_LABELS:
        raise wrong(where, " and ".join(VERDICT_LABELS), list(head.labels))
    if len(head.labels) < 2 or len(set(head.labels)) < len(head.labels):
        raise wrong(where, "at least two labels, none of them twice", list(head.labels))
