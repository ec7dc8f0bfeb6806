"""stepguard bench growth: one guard, one long text, two ways to a verdict."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from stepguard.bench.arguments import check_table
from stepguard.bench.fidelity import last_path, questions
from stepguard.bench.growth import (
    Ids,
    Point,
    attention_operations,
    contexts_up_to,
    measure_growth,
)
from stepguard.bench.machine import describe_machine
from stepguard.bench.memory import our_memory
from stepguard.bench.opened import Opened, opened
from stepguard.bench.outputs import give_json
from stepguard.bench.peaks import Peaks, measure_peaks
from stepguard.bench.plot import check_plot, plot_growth
from stepguard.bench.report import growth_table, machine_text, progress_bar
from stepguard.bench.samples import read_samples
from stepguard.cli.show import console
from stepguard.errors import TrajectoryError
from stepguard.manifest import Architecture, Manifest, load
from stepguard.runtime import default_memory

_UNCUT = 1 << 31


def run_growth(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    check_table(arguments)
    check_plot(arguments.plot)
    manifest = load(arguments.model)
    with opened(
        arguments.model,
        memory=_memory(manifest, arguments.to),
        activations=arguments.activations,
        isa=arguments.isa,
        threads=arguments.threads,
    ) as model:
        reader = model.reader
        question = np.asarray(reader.encoder.question(reader.encoder.begin("").border), np.int32)
        _check_lengths(arguments, model.guard.manifest.architecture.context, len(question))
        machine = describe_machine(reader.engine)
        peaks = measure_peaks(reader.engine.threads)
        with progress_bar(f"{model.folder.name}, to {arguments.to:,} tokens") as progress:
            points = measure_growth(
                reader.engine,
                _text(model, arguments),
                question,
                reader.judge.rows,
                contexts=contexts_up_to(arguments.to),
                step=arguments.step,
                repeats=arguments.repeats,
                again_to=arguments.again_to,
                progress=progress,
            )
        facts = model.to_dict()
        growth = _growth(points, manifest.architecture, peaks, machine.isa)
    report = {
        "benchmark": "growth",
        "machine": machine.to_dict(),
        "model": facts,
        "settings": _settings(arguments),
        "peaks": peaks.to_dict(),
        "points": [point.to_dict() for point in points],
        "growth": growth,
        "cases": [point.to_case() for point in points],
    }
    if give_json(arguments.json, report):
        console().print(machine_text(machine), soft_wrap=True)
        console().print(f"{facts['folder']}: {facts['architecture']}, {facts['weights']}")
        console().print(growth_table(points))
        console().print(_summary(points, growth), soft_wrap=True)
    if arguments.plot:
        plot_growth(points, machine, arguments.plot)
    return 0


def _memory(manifest: Manifest, longest: int) -> int:
    """Bytes for two paths of that length: with the steps, and the one that is read again."""
    return max(default_memory(), our_memory(manifest, 1, longest))


def _check_lengths(arguments: argparse.Namespace, most: int, question: int) -> None:
    least = arguments.step + question
    if arguments.to > most:
        arguments.usage(f"--to {arguments.to}: the model's context is {most} tokens")
    if contexts_up_to(arguments.to)[0] < least:
        arguments.usage(f"--to {arguments.to}: the step and its question need {least} tokens")


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    return {
        "text": [file.name for file in arguments.data] or "random token ids",
        "step": arguments.step,
        "repeats": arguments.repeats,
        "seed": arguments.seed,
    }


def _text(model: Opened, arguments: argparse.Namespace) -> Ids:
    """int32 [at least the longest context]: trajectories on end, or random ids."""
    wanted = arguments.to
    if not arguments.data:
        rng = np.random.default_rng(arguments.seed)
        vocabulary = model.guard.manifest.architecture.vocabulary
        random: Ids = rng.integers(0, vocabulary, wanted, dtype=np.int32)
        return random
    encoder, parts, size = model.reader.encoder, [], 0
    # A trajectory is rarely shorter than 64 tokens.
    for sample in read_samples(arguments.data, wanted // 64 + 1, arguments.seed):
        parts.append(last_path(encoder, questions(encoder, sample.trajectory, _UNCUT)))
        size += len(parts[-1])
        if size >= wanted:
            text: Ids = np.concatenate(parts)[:wanted]
            return text
    raise TrajectoryError("--data", expected=f"text of {wanted} tokens", got=f"{size} tokens")


def _summary(points: Sequence[Point], growth: dict[str, object] | None) -> str:
    """What the step and reading everything again become slower by, and what attention must take."""
    if len(points) == 1:
        return "A single length shows no growth: let --to be larger."
    return f"{_slower(points)}\n{_growth_text(growth)}"


def _slower(points: Sequence[Point]) -> str:
    first, last = points[0], points[-1]
    again = [point for point in points if point.again_median is not None]
    text = (
        f"From {first.context:,} to {last.context:,} tokens a step becomes "
        f"{last.step_median / first.step_median:.1f} times as slow"
    )
    if len(again) < 2:
        return f"{text}."
    slower = (again[-1].again_median or 0.0) / (again[0].again_median or 1.0)
    return f"{text}, reading everything again {slower:.1f} times at {again[-1].context:,}."


def _growth(
    points: Sequence[Point], architecture: Architecture, peaks: Peaks, table: str
) -> dict[str, object] | None:
    """What the step became slower by from 1k to 16k tokens (or the first length, the last), beside
    what the attention over the additional keys takes at the measured peak."""
    by_length = {point.context: point for point in points}
    first, last = by_length.get(1024, points[0]), by_length.get(16384, points[-1])
    peak = peaks.of(table, "fp32")
    if peak is None or first.context >= last.context:
        return None
    rows = last.step + last.question
    more = [attention_operations(architecture, point.context, rows) for point in (last, first)]
    least = 1000 * (more[0] - more[1]) / peak
    slower = last.step_median - first.step_median
    return {
        "from": first.context,
        "to": last.context,
        "slower_ms": slower,
        "attention_ms": least,
        "ratio": slower / least,
    }


def _growth_text(growth: dict[str, object] | None) -> str:
    if growth is None:
        return "What attention must take at least is not known on this machine."
    return (
        f"At {growth['to']:,} it takes {growth['slower_ms']:,.0f} ms more than at "
        f"{growth['from']:,}: {growth['ratio']:.2f} times what the attention over the additional "
        "keys takes at the measured peak."
    )
