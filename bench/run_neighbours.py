"""stepguard bench neighbours: one guard, and the programs beside it."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence

import numpy as np

from stepguard.bench.machine import describe_machine
from stepguard.bench.neighbours import Case, Idle, Ids, Progress, measure_forward, measure_loops
from stepguard.bench.opened import Opened, opened
from stepguard.bench.outputs import write_json
from stepguard.bench.report import machine_text, neighbours_table, progress_bar, say
from stepguard.cli.show import console

_SETTINGS = ("context", "step", "repeats", "loops", "products", "idle")


def run_neighbours(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    kinds = [kind for kind in arguments.loops if importlib.util.find_spec(kind)]
    if len(kinds) < len(arguments.loops):
        say("PyTorch is not installed: its loop is left out.")
    with opened(arguments.model, threads=arguments.threads) as model:
        machine, facts = describe_machine(model.reader.engine), model.to_dict()
        _check_lengths(model, arguments)
        with progress_bar(f"{model.folder.name}: a step beside a busy process") as progress:
            forward = _forward(model, arguments, progress)
    with progress_bar(f"{model.folder.name}: loops beside an idle guard") as progress:
        loops, idle = measure_loops(
            arguments.model,
            kinds,
            threads=arguments.threads,
            repeats=arguments.repeats,
            products=arguments.products,
            seconds=arguments.idle,
            progress=progress,
        )
    cases = [*loops, forward]
    console().print(machine_text(machine), soft_wrap=True)
    console().print(f"{facts['folder']}: {facts['architecture']}, {facts['weights']}")
    console().print(neighbours_table(cases))
    console().print(_summary(cases, idle), soft_wrap=True)
    if arguments.json:
        report = {
            "benchmark": "neighbours",
            "machine": machine.to_dict(),
            "model": facts,
            "settings": {name: getattr(arguments, name) for name in _SETTINGS},
            "cases": [case.to_dict() for case in cases],
            "idle": {"seconds": idle.seconds, "cpu_seconds": idle.cpu_seconds},
        }
        write_json(arguments.json, report)
    return 0


def _forward(model: Opened, arguments: argparse.Namespace, progress: Progress) -> Case:
    """A step of random ids behind `context` others: what they say takes no part in the time."""
    reader, rng = model.reader, np.random.default_rng(0)
    vocabulary = model.guard.manifest.architecture.vocabulary
    return measure_forward(
        reader.engine,
        rng.integers(0, vocabulary, arguments.context + arguments.step, dtype=np.int32),
        _question(model),
        reader.judge.rows,
        step=arguments.step,
        repeats=arguments.repeats,
        progress=progress,
    )


def _question(model: Opened) -> Ids:
    encoder = model.reader.encoder
    return encoder.question(encoder.begin("").border)


def _check_lengths(model: Opened, arguments: argparse.Namespace) -> None:
    most = model.guard.manifest.architecture.context
    wanted = arguments.context + arguments.step + len(_question(model))
    if wanted > most:
        arguments.usage(f"{wanted} tokens with the question: the model's context is {most}")


def _summary(cases: Sequence[Case], idle: Idle) -> str:
    over = [case.name for case in cases if case.ratio > case.limit]
    text = f"The idle guard's process took {idle.cpu_seconds * 1000:.1f} ms of CPU time in "
    text += f"{idle.seconds:g} s. "
    return text + (f"Over its limit: {', '.join(over)}." if over else "All within their limits.")
