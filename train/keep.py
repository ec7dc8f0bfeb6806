"""From a checkpoint of a run to what is kept of the default guard: src/stepguard/default_guard/."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from stepguard.default_guard import Base, Kept, Source
from stepguard.default_guard.kept import ADAPTER, FILE, as_text
from stepguard.errors import TrainingError
from stepguard.export.lora import read_adapter
from stepguard.train.licence import agent_of, reason_against
from stepguard.train.lora.learned import FILE as LEARNED
from stepguard.train.lora.learned import KEY, learned_of
from stepguard.train.lora.store import STATE, run_of
from stepguard.train.records import Record

_CONFIG = "adapter_config.json"
_NOTICE = """\
stepguard's default guard

An adapter (LoRA, PEFT), Copyright 2026 the stepguard authors, Apache-2.0, made with stepguard.
It is merged into SmolLM2-135M-Instruct (Hugging Face, {licence}), of {requirement}: the weights
of a model directory that holds this file were changed by it, and stored in other number formats.

It learned from:

{sources}
"""


def keep_adapter(
    checkpoint: Path, records: Sequence[Record], base: Base, asking: dict[str, str], into: Path
) -> Kept:
    """Writes the adapter in fp16, guard.json, learned.json and NOTICE into a folder.

    records: those that the run learned from, and any others.

    Raises:
        TrainingError: the folder is no checkpoint of a run on this base; a record that was learned
            from is missing, or is one that a given-away adapter must not learn from.
    """
    run = run_of(checkpoint.parent)
    if run.get("base_sha256") != base.sha256:
        got = f"one of {run.get('base_sha256')}"
        raise TrainingError(str(checkpoint), expected=f"an adapter of {base.sha256}", got=got)
    learned = learned_of(checkpoint.parent, str(run.get(KEY))).records
    sources = sources_of([record for record in records if record.sha256 in learned])
    found = sum(source.records for source in sources.values())
    if found < len(learned):
        expected, got = f"all {len(learned)} records of the run", f"{found} of them"
        raise TrainingError("data", expected=expected, got=got, fix="Give all files of the run.")
    into.mkdir(parents=True, exist_ok=True)
    rounding = _round(checkpoint, into)
    config = json.loads((checkpoint / _CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base.requirement
    _write(into / _CONFIG, json.dumps(config, indent=1, sort_keys=True) + "\n")
    shutil.copyfile(checkpoint.parent / LEARNED, into / LEARNED)
    kept = Kept(
        base=base,
        adapter=hashlib.sha256((into / ADAPTER).read_bytes()).hexdigest(),
        licence="Apache-2.0",
        asking=asking,
        checkpoint=checkpoint.name,
        settings=run["settings"],
        rounding=rounding,
        learned=sources,
        given=int(run["records"]),
        seen=_seen(checkpoint, run),
    )
    _write(into / "NOTICE", _notice(kept))
    _write(into / FILE, as_text(kept))
    return kept


def _seen(checkpoint: Path, run: Mapping[str, Any]) -> int:
    """How many records of a run had been read at a checkpoint: it may stop within an epoch."""
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    settings = run["settings"]
    made = min(int(state["step"]), int(state["total"]) // int(settings["epochs"]))
    return min(made * int(settings["batch"]), int(run["records"]))


def sources_of(records: Iterable[Record]) -> dict[str, Source]:
    """What is said of each source.

    Raises:
        TrainingError: a record is one that an adapter which is given away must not learn from.
    """
    by_source: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if reason := reason_against(record):
            expected = "records that an adapter may be given away with"
            raise TrainingError(record.name, expected=expected, got=reason)
        by_source[record.source].append(record)
    return {name: _source(found) for name, found in sorted(by_source.items())}


def _source(records: Sequence[Record]) -> Source:
    models = Counter(name for record in records if (name := agent_of(record)))
    return Source(
        records=len(records),
        unsafe=sum(record.unsafe for record in records),
        licences=tuple(sorted({record.licence or "not stated" for record in records})),
        models=dict(sorted(models.items())),
    )


def _round(checkpoint: Path, into: Path) -> float:
    """Keeps the values in fp16; the largest relative error of a difference by it."""
    values = load_file(checkpoint / ADAPTER)
    with np.errstate(over="ignore"):  # said below
        halves = {name: value.astype(np.float16) for name, value in sorted(values.items())}
    if not all(np.isfinite(value).all() for value in halves.values()):
        got = "larger ones, or none at all"
        raise TrainingError(str(checkpoint), expected="values that fp16 can hold", got=got)
    save_file(halves, into / ADAPTER, {"format": "pt"})
    (into / ADAPTER).chmod(0o644)  # safetensors makes it private
    # The differences of both, by the code that merges them; it reads the configuration, too.
    shutil.copyfile(checkpoint / _CONFIG, into / _CONFIG)
    exact, rounded = read_adapter(checkpoint), read_adapter(into)
    errors = []
    for name, low in exact.items():
        whole, half = (one.rows(0, len(one.b)) for one in (low, rounded[name]))
        size = float(np.linalg.norm(whole))
        errors.append(float(np.linalg.norm(half - whole)) / size if size else 0.0)
    return float(f"{max(errors):.2g}")


def _notice(kept: Kept) -> str:
    lines = []
    for name, source in kept.learned.items():
        models = f"; agents: {', '.join(source.models)}" if source.models else ""
        lines.append(f"  {name}: {source.records} records, {', '.join(source.licences)}{models}")
    base = kept.base
    return _NOTICE.format(
        licence=base.licence, requirement=base.requirement, sources="\n".join(lines)
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
