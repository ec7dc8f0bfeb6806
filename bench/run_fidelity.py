"""stepguard bench fidelity: reads with the reference, then with each of the others."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from stepguard.bench.agreement import LEAST, Agreed, agreement, balanced, stops, threshold_of
from stepguard.bench.fidelity import Comparison, Margins, compare, read_margins
from stepguard.bench.machine import Machine, describe_machine
from stepguard.bench.opened import Opened, check_same_prompt, opened
from stepguard.bench.outputs import give_json
from stepguard.bench.report import agreement_table, fidelity_table, machine_text, progress_bar
from stepguard.bench.samples import Sample, read_samples
from stepguard.cli.show import console, plain
from stepguard.errors import ModelFormatError, TrajectoryError
from stepguard.extras import needs
from stepguard.taxonomy import Calibration

Run = tuple[Path, str | None, str | None]


@dataclass(frozen=True)
class Compared:
    """A model beside the reference; bytes: of its files."""

    model: dict[str, str]
    comparison: Comparison
    agreement: Agreed
    bytes: int

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "model": self.model,
            "comparison": self.comparison.to_dict(),
            "agreement": self.agreement.to_dict(),
            "bytes": self.bytes,
        }


@dataclass(frozen=True)
class Border:
    """Where verdicts part. folder: of the guard whose calibration it is, None for a margin of 0;
    stopped: the share of the reference's verdicts that are not safe there."""

    folder: str | None
    calibration: Calibration | None
    stopped: float = math.nan

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        margin = threshold_of(self.calibration)
        found = margin if math.isfinite(margin) else None
        return {"calibration_of": self.folder, "margin": found, "stopped": self.stopped}


def run_fidelity(arguments: argparse.Namespace) -> int:
    """Compares and prints; the exit status is 0 whatever the differences are."""
    runs: list[Run] = [
        (folder, None, activations)
        for folder in arguments.models
        for activations in arguments.activations or [None]
    ]
    if arguments.kv:
        runs.insert(0, (arguments.reference, arguments.kv, None))
    if not runs:
        arguments.usage("nothing to compare: give a MODEL, or --kv")
    with needs("bench", "stepguard bench fidelity", "the package scikit-learn"):
        import_module("sklearn.metrics")  # now, not behind the reading
    samples = read_samples(arguments.data, arguments.limit, arguments.seed)
    if not samples:
        raise TrajectoryError("--data", expected="at least one trajectory", got="none")
    with _open(arguments.reference, None, None, arguments) as reference:
        _check_reference(reference)
        border = _border(reference, runs, arguments)
        machine = describe_machine(reference.reader.engine)
        answers = _read(reference, samples, arguments)
        if arguments.balance:
            places = balanced(answers, border.calibration)
            answers, samples = answers.of(places), [samples[place] for place in places]
        stopped = float(stops(answers.margins, border.calibration).mean())
        border = replace(border, stopped=stopped)
        rows = []
        for folder, kv, activations in runs:
            with _open(folder, kv, activations, arguments) as model:
                check_same_prompt(reference, model)
                other = _read(model, samples, arguments)
                rows.append(_compared(model, answers, other, samples, border, arguments.seed))
    report = _report(machine, reference, border, rows, samples, arguments)
    if give_json(arguments.json, report):
        _print_table(machine, answers, border, rows, samples, arguments)
    return 0


def _compared(
    model: Opened,
    answers: Margins,
    other: Margins,
    samples: Sequence[Sample],
    border: Border,
    seed: int,
) -> Compared:
    size = sum(entry.bytes for entry in model.guard.manifest.files.values())
    agreed = agreement(answers, other, samples, border.calibration, seed)
    return Compared(model.to_dict(), compare(answers, other), agreed, size)


def _border(reference: Opened, runs: Sequence[Run], arguments: argparse.Namespace) -> Border:
    """The calibration of the first model that has one: what is shipped is what counts. All models
    are opened before any is read, so that a wrong one is told at once."""
    found = Border(None, None)
    for folder, kv, activations in runs:
        with _open(folder, kv, activations, arguments) as model:
            check_same_prompt(reference, model)
            calibration = model.reader.judge.calibration
            if found.calibration is None and calibration is not None:
                found = Border(model.folder.name, calibration)
    own = reference.reader.judge.calibration
    return found if found.calibration or own is None else Border(reference.folder.name, own)


def _open(
    folder: Path, kv: str | None, activations: str | None, arguments: argparse.Namespace
) -> AbstractContextManager[Opened]:
    return opened(
        folder, kv=kv, activations=activations, isa=arguments.isa, threads=arguments.threads
    )


def _read(model: Opened, samples: Sequence[Sample], arguments: argparse.Namespace) -> Margins:
    with progress_bar(f"{model.folder.name}, {model.guard.kv}") as progress:
        return read_margins(model, samples, arguments.cut, progress)


def _check_reference(reference: Opened) -> None:
    if reference.weights != "float32" or reference.guard.kv != "fp32":
        raise ModelFormatError(
            str(reference.folder),
            expected="a float32 export with float32 KV pages",
            got=f"{reference.weights}, {reference.guard.kv}",
            fix="Type: stepguard export CHECKPOINT OUT --quant float32",
        )


def _report(
    machine: Machine,
    reference: Opened,
    border: Border,
    rows: Sequence[Compared],
    samples: Sequence[Sample],
    arguments: argparse.Namespace,
) -> dict[str, object]:
    settings = {
        "samples": [sample.name for sample in samples],
        "cut": arguments.cut,
        "seed": arguments.seed,
        "files": [file.name for file in arguments.data],
        "balance": arguments.balance,
    }
    return {
        "benchmark": "fidelity",
        "machine": machine.to_dict(),
        "settings": settings,
        "reference": reference.to_dict(),
        "threshold": border.to_dict(),
        "models": [row.to_dict() for row in rows],
    }


def _print_table(
    machine: Machine,
    answers: Margins,
    border: Border,
    rows: Sequence[Compared],
    samples: Sequence[Sample],
    arguments: argparse.Namespace,
) -> None:
    out = console()
    out.print(machine_text(machine), soft_wrap=True)
    out.print(
        f"{len(samples)} trajectories of at most {arguments.cut:,} tokens: "
        f"{int(answers.tokens.sum()):,} tokens, {len(answers.margins):,} verdicts"
    )
    names = [(f"{row.model['weights']} x {row.model['activations']}", row.model["kv"])
             for row in rows]  # fmt: skip
    out.print(
        fidelity_table([(*name, row.comparison) for name, row in zip(names, rows, strict=True)])
    )
    whose = "a margin of 0 (no guard is calibrated)"
    if border.folder is not None:
        whose = f"the calibrated threshold of {plain(border.folder)}"
    out.print(f"At {whose} the reference stops {100 * border.stopped:.0f} % of them.")
    if not LEAST <= border.stopped <= 1 - LEAST:
        out.print("One class has less than a quarter: agreement is easy there. See --balance.")
    out.print(
        agreement_table(
            [(*name, row.agreement, row.bytes) for name, row in zip(names, rows, strict=True)]
        )
    )
