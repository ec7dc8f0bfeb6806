"""stepguard bench fidelity --modes: one guard, read in each of its modes."""

from __future__ import annotations

import argparse
import time

from stepguard.bench.machine import describe_machine
from stepguard.bench.modes import agreements, ask_all, read_verdicts, verdict_modes
from stepguard.bench.opened import opened
from stepguard.bench.outputs import give_json
from stepguard.bench.report import machine_text, modes_table, progress_bar
from stepguard.bench.samples import read_samples
from stepguard.cli.show import console
from stepguard.errors import TrajectoryError
from stepguard.taxonomy import Verdict


def run_modes(arguments: argparse.Namespace) -> int:
    """Reads and prints; the exit status is 0 whatever the differences are."""
    if arguments.models or arguments.kv or arguments.activations:
        arguments.usage("--modes takes one guard, and neither --kv nor --activations")
    samples = read_samples(arguments.data, arguments.limit, arguments.seed)
    if not samples:
        raise TrajectoryError("--data", expected="at least one trajectory", got="none")
    options = {
        "isa": arguments.isa,
        "threads": arguments.threads,
        "rationale_limit": arguments.rationale_limit,
    }
    with opened(arguments.reference, **options) as first:
        modes, asked = verdict_modes(first), ask_all(first, samples, arguments.cut)
        machine, model = describe_machine(first.reader.engine), first.to_dict()
    answers: dict[str, list[Verdict]] = {}
    seconds: dict[str, float] = {}
    for mode in modes:
        with opened(arguments.reference, mode=mode, **options) as guard:
            started = time.perf_counter()
            with progress_bar(mode) as progress:
                answers[mode] = read_verdicts(guard, asked, progress)
            seconds[mode] = time.perf_counter() - started
    found = agreements(answers)
    report = {
        "benchmark": "modes",
        "machine": machine.to_dict(),
        "model": model,
        "settings": {
            "samples": [sample.name for sample in samples],
            "cut": arguments.cut,
            "seed": arguments.seed,
            "files": [file.name for file in arguments.data],
        },
        "seconds": seconds,
        "agreements": [agreement.to_dict() for agreement in found],
    }
    if not give_json(arguments.json, report):
        return 0
    console().print(machine_text(machine), soft_wrap=True)
    per = {mode: 1000 * taken / len(answers[mode]) for mode, taken in seconds.items()}
    console().print(", ".join(f"{mode}: {ms:,.0f} ms a verdict" for mode, ms in per.items()))
    console().print(modes_table(found))
    return 0
