"""stepguard bench fidelity: reads with the reference, then with each of the others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from stepguard.bench.fidelity import Comparison, Margins, compare, read_margins
from stepguard.bench.machine import Machine, describe_machine
from stepguard.bench.opened import Opened, check_same_prompt, opened
from stepguard.bench.report import fidelity_table, machine_text, progress_bar
from stepguard.bench.samples import Sample, read_samples
from stepguard.cli.show import console, print_json
from stepguard.errors import ModelFormatError, TrajectoryError

Rows = Sequence[tuple[dict[str, str], Comparison]]


def run_fidelity(arguments: argparse.Namespace) -> int:
    """Compares and prints; the exit status is 0 whatever the differences are."""
    runs: list[tuple[Path, str | None, str | None]] = [
        (folder, None, activations)
        for folder in arguments.models
        for activations in arguments.activations or [None]
    ]
    if arguments.kv:
        runs.insert(0, (arguments.reference, arguments.kv, None))
    if not runs:
        arguments.usage("nothing to compare: give a MODEL, or --kv")
    samples = read_samples(arguments.data, arguments.limit, arguments.seed)
    if not samples:
        raise TrajectoryError("--data", expected="at least one trajectory", got="none")
    rows = []
    with _open(arguments.reference, None, None, arguments) as reference:
        _check_reference(reference)
        machine = describe_machine(reference.reader.engine)
        answers = _read(reference, samples, arguments)
        for folder, kv, activations in runs:
            with _open(folder, kv, activations, arguments) as model:
                check_same_prompt(reference, model)
                rows.append((model.to_dict(), compare(answers, _read(model, samples, arguments))))
    if arguments.json:
        _print_json(machine, reference, rows, samples, arguments)
    else:
        _print_table(machine, answers, rows, samples, arguments)
    return 0


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


def _print_json(
    machine: Machine,
    reference: Opened,
    rows: Rows,
    samples: Sequence[Sample],
    arguments: argparse.Namespace,
) -> None:
    settings = {
        "samples": [sample.name for sample in samples],
        "cut": arguments.cut,
        "seed": arguments.seed,
        "files": [file.name for file in arguments.data],
    }
    models = [{"model": model, "comparison": found.to_dict()} for model, found in rows]
    print_json(
        {
            "benchmark": "fidelity",
            "machine": machine.to_dict(),
            "settings": settings,
            "reference": reference.to_dict(),
            "models": models,
        }
    )


def _print_table(
    machine: Machine,
    answers: Margins,
    rows: Rows,
    samples: Sequence[Sample],
    arguments: argparse.Namespace,
) -> None:
    console().print(machine_text(machine), soft_wrap=True)
    console().print(
        f"{len(samples)} trajectories of at most {arguments.cut:,} tokens: "
        f"{answers.tokens:,} tokens read, {len(answers.margins):,} verdicts"
    )
    table = [(f"{m['weights']} x {m['activations']}", m["kv"], found) for m, found in rows]
    console().print(fidelity_table(table))
