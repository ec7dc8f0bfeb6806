"""Step verdicts and prefills of one shape: every engine that is installed, the same weights."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepguard.bench.arguments import check_length
from stepguard.bench.floor import Step, floor_ms
from stepguard.bench.gpu import find_gpu, measure_gpu, weights_floor_ms
from stepguard.bench.latency.devices import our_setup
from stepguard.bench.latency.engines import (
    Running,
    Wanted,
    chosen_rows,
    random_ids,
    start_engines,
)
from stepguard.bench.latency.measure import Case, measure
from stepguard.bench.latency.ours import LABELS
from stepguard.bench.latency.peer import Ids
from stepguard.bench.latency.remote import Remote
from stepguard.bench.machine import Machine, Setup, describe_machine
from stepguard.bench.peaks import Peaks, measure_peaks
from stepguard.bench.report import progress_bar
from stepguard.bench.shapes import GuardShape
from stepguard.bench.work import operations_of


@dataclass(frozen=True)
class ShapeRun:
    """What was measured of a shape, on what. memory: bytes of each engine's process."""

    shape: str
    run: Running
    cases: list[Case]
    machine: Machine
    peaks: Peaks
    memory: dict[str, dict[str, int]]

    def to_dict(self, settings: dict[str, object]) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "machine": self.machine.to_dict(),
            "shape": self.shape,
            "settings": settings,
            "versions": self.run.versions,
            "missing": self.run.missing,
            "peaks": self.peaks.to_dict(),
            "memory": self.memory,
            "cases": [case.to_dict() for case in self.cases],
        }


def measure_shape(shape: GuardShape, arguments: argparse.Namespace, work: Path) -> ShapeRun:
    """Makes what is missing in `work`, checks and times.

    arguments: context, new, question, prefill, repeats, usual, peers, threads, activations, seed
    and device, as in `bench latency`.

    Raises:
        StepguardError: a text is longer than the shape's context; ours cannot be made or loaded; an
            engine gave other logits than ours.
        RuntimeMissingError: no GPU where one is wanted.
    """
    rng, vocabulary = np.random.default_rng(arguments.seed), shape.shape.vocabulary
    longest = arguments.context + max([*arguments.new, 0]) + arguments.question
    longest = max(longest, *arguments.prefill, 0)
    check_length(shape.name, longest, shape.shape.context)
    ids = random_ids(rng, vocabulary, longest)
    question = random_ids(rng, vocabulary, arguments.question)
    gpu = find_gpu() if arguments.device == "cuda" else None  # before anything is made
    wanted = Wanted(
        shape,
        arguments.peers,
        arguments.seed,
        arguments.threads,
        longest + 512,
        device=arguments.device,
        activations=arguments.activations,
    )
    with ExitStack() as stack:
        run = start_engines(stack, wanted, work, chosen_rows(rng, vocabulary))
        machine = describe_machine(setup_of(arguments))
        peaks = measure_peaks(arguments.threads) if gpu is None else measure_gpu(gpu)
        cases, memory = run.without_lost(
            lambda engines: _timed(engines, shape.name, ids, question, arguments)
        )
        profiles = _profiles(run.engines[0], ids, question, arguments)
    cases = [
        dataclasses.replace(
            _with_floor(case, shape, peaks, machine, arguments), profile=profiles.get(case.name)
        )
        for case in cases
    ]
    return ShapeRun(shape.name, run, cases, machine, peaks, memory)


def _timed(
    engines: Sequence[Remote], title: str, ids: Ids, question: Ids, arguments: argparse.Namespace
) -> tuple[list[Case], dict[str, dict[str, int]]]:
    """The cases, and bytes of each engine's process behind them."""
    names = ", ".join(engine.name for engine in engines)
    with progress_bar(f"{title}: {names}") as progress:
        cases = measure(
            engines,
            ids,
            question,
            context=arguments.context,
            new=arguments.new,
            prefill=arguments.prefill,
            repeats=arguments.repeats,
            usual=arguments.usual,
            progress=progress,
        )
    return cases, resident_memory(engines)


def setup_of(arguments: argparse.Namespace) -> Setup:
    """How ours runs with these arguments."""
    return our_setup(arguments.threads, arguments.device, arguments.activations)


def settings_of(arguments: argparse.Namespace) -> dict[str, object]:
    """What decides the numbers, beside machine and versions. activations: those that run."""
    names = (
        "context",
        "new",
        "question",
        "prefill",
        "repeats",
        "usual",
        "threads",
        "seed",
        "device",
    )
    found = {name: getattr(arguments, name) for name in names}
    return found | {"activations": setup_of(arguments).activations}


def resident_memory(engines: Sequence[Remote]) -> dict[str, dict[str, int]]:
    """Bytes of each engine's process, with the same tokenizer loaded: now, and the most so far."""
    found = {engine.name: engine.resident() for engine in engines}
    return {name: {"resident": now, "peak": most} for name, (now, most) in found.items()}


def _with_floor(
    case: Case, shape: GuardShape, peaks: Peaks, machine: Machine, arguments: argparse.Namespace
) -> Case:
    if arguments.device == "cuda":
        parts = weights_floor_ms(operations_of(shape.shape), peaks)
        return dataclasses.replace(case, floor=parts)
    context, question = arguments.context, arguments.question
    if case.name.startswith("prefill"):
        context, question = 0, 0
    step = Step(context, case.tokens, question, LABELS)
    ops = operations_of(shape.shape, activations=machine.activations)
    least = floor_ms(ops, step, peaks, machine.isa)
    return dataclasses.replace(case, floor=least)


def _profiles(
    ours: Remote, ids: Ids, question: Ids, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Where the time of each step goes, in one run more."""
    if not arguments.new:
        return {}
    context = arguments.context
    ours.read(ids[:context])
    return {
        f"step {size}": ours.profile(ids[context : context + size], question)
        for size in arguments.new
    }
