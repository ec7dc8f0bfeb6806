"""stepguard bench memory: model directories, or random ones of shapes that are removed again."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from stepguard.bench.gpu import find_gpu
from stepguard.bench.machine import describe_machine, load_now
from stepguard.bench.memory import Memory, Parts, measure_memory
from stepguard.bench.report import machine_text, megabytes, say
from stepguard.bench.samples import Sample, made_samples, read_samples
from stepguard.bench.shapes import GUARDS, GuardShape, checkpoint_bytes, find_shape, make_model
from stepguard.cli.show import console
from stepguard.export import progress_bar

_TOKENS_OF_A_SAMPLE = 100  # rarely fewer


def run_memory(arguments: argparse.Namespace) -> int:
    """Measures one model after the other and prints a table."""
    shapes = chosen_shapes(arguments)
    if not arguments.models and not shapes:
        arguments.usage("nothing to measure: give a MODEL, --shape NAME or --all")
    if arguments.device == "cuda":
        find_gpu()  # before a model is made
    samples, load = _samples(arguments), load_now()
    found: list[Memory] = []
    for model in arguments.models:
        found.append(_measure(model, model.name, samples, arguments))
    for shape in shapes:
        with random_model(shape, arguments) as model:
            found.append(_measure(model, shape.name, samples, arguments))
    machine = describe_machine(found[0].setup, load)
    if arguments.json:
        report = {
            "benchmark": "memory",
            "machine": machine.to_dict(),
            "settings": _settings(arguments),
            "models": [one.to_dict() for one in found],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console().print(machine_text(machine), soft_wrap=True)
    console().print(_sizes(found))
    console().print(_parts(found, arguments.context))
    return 0


def chosen_shapes(arguments: argparse.Namespace) -> list[GuardShape]:
    """The shapes of --shape and --all, smallest model first; StepguardError for an unknown name."""
    names = list(GUARDS) if arguments.all else arguments.shape
    return sorted(map(find_shape, names), key=checkpoint_bytes)


@contextmanager
def random_model(shape: GuardShape, arguments: argparse.Namespace) -> Iterator[Path]:
    """A random model directory of a shape in --work, removed in the end."""
    with tempfile.TemporaryDirectory(prefix=f"{shape.name}-", dir=arguments.work) as folder:
        out = Path(folder) / "model"
        say(f"{shape.name}: making a random {arguments.quant} model")
        with progress_bar() as report:
            make_model(shape, out, quant=arguments.quant, progress=report)
        yield out


def _samples(arguments: argparse.Namespace) -> list[Sample]:
    count = arguments.context // _TOKENS_OF_A_SAMPLE + 1
    if arguments.data:
        return read_samples(arguments.data, count, arguments.seed)
    return made_samples(count, arguments.seed)


def _measure(
    model: Path, name: str, samples: list[Sample], arguments: argparse.Namespace
) -> Memory:
    say(f"{name}: loading and reading {arguments.context:,} tokens")
    return measure_memory(
        model,
        samples,
        arguments.context,
        name=name,
        threads=arguments.threads,
        device=arguments.device,
    )


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    return {
        "context": arguments.context,
        "text": [file.name for file in arguments.data] or "made up",
        "seed": arguments.seed,
        "device": arguments.device,
    }


def _sizes(found: list[Memory]) -> Table:
    table = Table(title="load times, and sizes in MB (10^6 bytes)")
    table.add_column("model", overflow="fold")
    names = ("weights", "weights.bin", "first load, s", "load, s", "loaded", "first verdict")
    for name in (*names, "a State", "KV of 1k tokens", "copied", "GPU"):
        table.add_column(name, justify="right")
    for one in found:
        seconds = (f"{one.first_seconds:.1f}", f"{one.seconds:.1f}")
        sizes = (one.loaded, one.judged.total, one.state_bytes, one.kilotoken_bytes, one.copied)
        gpu = "" if one.gpu_bytes is None else megabytes(one.gpu_bytes)
        cells = (megabytes(one.file_bytes), *seconds, *map(megabytes, sizes), gpu)
        table.add_row(one.name, one.quant, *cells)
    return table


def _parts(found: list[Memory], context: int) -> Table:
    table = Table(title=f"resident MB at {context:,} tokens of context")
    table.add_column("model", overflow="fold")
    for name in Parts.__dataclass_fields__:
        table.add_column(name, justify="right")
    for one in found:
        values = [getattr(one.full, name) for name in Parts.__dataclass_fields__]
        table.add_row(one.name, *map(megabytes, values))
    return table
