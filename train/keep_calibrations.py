"""The calibrations of the default guard: one for each quantisation, activation mode and KV type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard.default_guard import Kept
from stepguard.default_guard.kept import CALIBRATION, as_text, calibration_name
from stepguard.export import export_model
from stepguard.guard import Guard
from stepguard.train.calibrate import Report, Target, calibrate, entry
from stepguard.train.kept import Progress
from stepguard.train.records import Record
from stepguard.train.scores import guard_key, score_records

# Activations and type of the KV pages, by their name in a file.
SETTINGS = {f"{one}-{kv}": (one, kv) for one in ("int8", "fp32") for kv in ("fp16", "fp32")}


@dataclass(frozen=True)
class Job:
    """What is calibrated, and with what. adapter: the folder of the kept adapter, where the
    calibrations go, too; work: exports and margins, kept for a run that was cut off; settings: keys
    of SETTINGS. An export in float32 has no rows in int8."""

    weights: Path
    adapter: Path
    kept: Kept
    records: Sequence[Record]
    target: Target
    work: Path
    settings: Sequence[str] = tuple(SETTINGS)


def keep_calibrations(job: Job, quant: str, progress: Progress | None = None) -> dict[str, Report]:
    """Exports as `stepguard default install` does, scores in every setting, and writes the entries.

    Returns the reports by the name of the file. Raises what the export and `calibrate` raise.
    """
    out = job.work / f"default-{quant}"
    asking: Any = job.kept.asking
    export_model(job.weights, out, quant=quant, adapter=job.adapter, overwrite=True, **asking)
    folder, reports = job.adapter / CALIBRATION, {}
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{quant}-*.json"):
        old.unlink()
    for activations, kv in map(SETTINGS.__getitem__, job.settings):
        if quant == "float32" and activations == "int8":
            continue
        with Guard.load(out, kv=kv, activations=activations, save_prefix=False) as guard:
            key = guard_key(guard)
            scores = job.work / "scores.jsonl"
            scored = score_records(guard, job.records, scores, progress)
        fitted, report = calibrate(job.records, scored, job.target)
        made = entry(fitted, report, key, job.records)
        name = calibration_name(made, quant)
        (folder / name).write_text(as_text(made), encoding="utf-8")
        reports[name] = report
    return reports
