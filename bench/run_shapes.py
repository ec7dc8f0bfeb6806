"""stepguard bench shapes: trajectories moderated end to end by random models of every shape."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from stepguard.bench.arguments import check_table
from stepguard.bench.child import run_command
from stepguard.bench.machine import Setup, describe_machine, load_now
from stepguard.bench.outputs import give_json
from stepguard.bench.report import machine_text, megabytes, say
from stepguard.bench.run_memory import chosen_shapes, random_model
from stepguard.bench.samples import Sample, made_samples, read_samples
from stepguard.bench.shapes import GuardShape
from stepguard.cli.show import console
from stepguard.errors import TrajectoryError
from stepguard.runtime import find_onnxruntime

_VERDICTS = (0, 10, 11, 12)  # exit statuses of `stepguard moderate` that mean that it judged
_SIGNS = 4  # of a token, about
_CHOICE = 300  # trajectories to choose from


@dataclass(frozen=True)
class Moderated:
    """What one shape took; bytes and seconds."""

    shape: str
    made_seconds: float
    weights: int
    trajectories: int
    verdicts: int
    unavailable: int
    tokens: int
    seconds: float
    """Reading and judging, without loading."""
    process_seconds: float
    """The whole command, the first load of a new model with it."""
    cpu_seconds: float
    """The same, of all its threads together: on a busy machine the better measure."""
    peak: int

    @property
    def speed(self) -> float:
        """Tokens read in a second."""
        return self.tokens / self.seconds


def run_shapes(arguments: argparse.Namespace) -> int:
    """Makes, moderates, removes; exit status 1 where a verdict was unavailable."""
    shapes = chosen_shapes(arguments)
    if not shapes:
        arguments.usage("nothing to moderate: give --shape NAME or --all")
    check_table(arguments)
    samples, load = _samples(arguments), load_now()
    found: list[Any] = []
    facts: dict[str, Any] = {}
    for shape in shapes:
        one, facts = _moderate(shape, samples, arguments)
        found.append(one)
        say(f"{shape.name}: {one.tokens:,} tokens in {one.seconds:.0f} s")
    setup = {name: facts[name] for name in ("isa", "threads", "kv", "activations")}
    machine = describe_machine(Setup(ort_version=find_onnxruntime().version, **setup), load)
    rows = [dataclasses.asdict(one) | {"tokens_per_second": one.speed} for one in found]
    report = {"benchmark": "shapes", "machine": machine.to_dict(), "shapes": rows}
    if give_json(arguments.json, report):
        console().print(machine_text(machine), soft_wrap=True)
        console().print(_table(found, arguments.quant))
    return 1 if any(one.unavailable for one in found) else 0


def _samples(arguments: argparse.Namespace) -> list[Sample]:
    """The first trajectories of about `--tokens` tokens, or of down to half as many."""
    if not arguments.data:
        return made_samples(arguments.limit, arguments.seed)
    most = arguments.tokens * _SIGNS
    every = read_samples(arguments.data, _CHOICE, arguments.seed)
    fitting = [sample for sample in every if most // 2 <= len(json.dumps(sample.value)) <= most]
    if not fitting:
        expected = f"a trajectory of {most // 2:,} to {most:,} characters"
        raise TrajectoryError("--data", expected=expected, got="none")
    return fitting[: arguments.limit]


def _moderate(
    shape: GuardShape, samples: list[Sample], arguments: argparse.Namespace
) -> tuple[Moderated, dict[str, Any]]:
    started = time.perf_counter()
    with random_model(shape, arguments) as model:
        made = time.perf_counter() - started
        lines = model.parent / "trajectories.jsonl"
        lines.write_text("".join(json.dumps(s.value) + "\n" for s in samples), encoding="utf-8")
        say(f"{shape.name}: moderating {len(samples)} trajectories")
        words: list[str | Path] = ["moderate", model, lines, "--json"]
        if arguments.threads:
            words += ["--threads", str(arguments.threads)]
        ran = run_command(*words, allowed=_VERDICTS)
        weights = (model / "weights.bin").stat().st_size
    answer = json.loads(ran.output)
    verdicts = [verdict for one in answer["trajectories"] for verdict in one["verdicts"]]
    facts: dict[str, Any] = answer["model"]
    one = Moderated(
        shape=shape.name,
        made_seconds=made,
        weights=weights,
        trajectories=len(samples),
        verdicts=len(verdicts),
        unavailable=sum(verdict["status"] == "unavailable" for verdict in verdicts),
        tokens=sum(verdict["tokens_read"] for verdict in verdicts),
        seconds=facts["seconds"],
        process_seconds=ran.seconds,
        cpu_seconds=ran.cpu_seconds,
        peak=ran.peak,
    )
    return one, facts


def _table(found: list[Moderated], quant: str) -> Table:
    first = found[0]
    table = Table(title=f"{first.trajectories} trajectories, random {quant} weights")
    table.add_column("shape")
    names = ("weights.bin, MB", "made in, s", "verdicts", "tokens", "read in, s", "tokens/s")
    for name in (*names, "command, s", "CPU, s", "peak resident, MB"):
        table.add_column(name, justify="right")
    for one in found:
        counts = (f"{one.verdicts - one.unavailable} of {one.verdicts}", f"{one.tokens:,}")
        times = (f"{one.seconds:.0f}", f"{one.speed:.1f}")
        whole = (f"{one.process_seconds:.0f}", f"{one.cpu_seconds:.0f}")
        sizes = (megabytes(one.weights), f"{one.made_seconds:.0f}")
        table.add_row(one.shape, *sizes, *counts, *times, *whole, megabytes(one.peak))
    return table
