"""stepguard bench memory: model directories, or random ones of shapes that are removed again."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from stepguard.bench.arguments import check_length, check_table
from stepguard.bench.gpu import find_gpu
from stepguard.bench.machine import Machine, describe_machine, load_now
from stepguard.bench.memory import Memory, Parts, measure_memory
from stepguard.bench.outputs import write_json
from stepguard.bench.plot import check_plot, describe, picture, stacked_bars
from stepguard.bench.report import machine_text, megabytes, say
from stepguard.bench.samples import Sample, made_samples, read_samples
from stepguard.bench.shapes import GUARDS, GuardShape, checkpoint_bytes, find_shape, make_model
from stepguard.cli.show import console
from stepguard.export import progress_bar
from stepguard.manifest import load

_NAMES = tuple(field.name for field in dataclasses.fields(Parts))
_TOKENS_OF_A_SAMPLE = 100  # rarely fewer


def run_memory(arguments: argparse.Namespace) -> int:
    """Measures one model after the other and prints a table."""
    shapes = chosen_shapes(arguments)
    if not arguments.models and not shapes:
        arguments.usage("nothing to measure: give a MODEL, --shape NAME or --all")
    check_table(arguments)
    check_plot(arguments.plot)
    if arguments.device == "cuda":
        find_gpu()  # before a model is made
    for model in arguments.models:
        check_length(model.name, arguments.context, load(model).architecture.context)
    for shape in shapes:
        check_length(shape.name, arguments.context, shape.shape.context)
    samples, busy = _samples(arguments), load_now()
    found: list[Memory] = []
    for model in arguments.models:
        found.append(_measure(model, model.name, samples, arguments))
    for shape in shapes:
        with random_model(shape, arguments) as model:
            found.append(_measure(model, shape.name, samples, arguments))
    machine = describe_machine(found[0].setup, busy)
    console().print(machine_text(machine), soft_wrap=True)
    console().print(_sizes(found))
    console().print(_parts(found))
    if arguments.json:
        report = {
            "benchmark": "memory",
            "machine": machine.to_dict(),
            "settings": _settings(arguments),
            "models": [one.to_dict() for one in found],
            "cases": [one.to_case() for one in found],
        }
        write_json(arguments.json, report)
    if arguments.plot:
        plot_memory(found, machine, arguments.plot)
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
    found = measure_memory(
        model,
        samples,
        arguments.context,
        name=name,
        threads=arguments.threads,
        device=arguments.device,
    )
    if found.context < arguments.context:
        why = "the text ends there, or the next step is longer than what is left of the context"
        say(f"{name}: read {found.context:,} tokens of {arguments.context:,}: {why}")
    return found


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


def _parts(found: list[Memory]) -> Table:
    table = Table(title=_full(found))
    table.add_column("model", overflow="fold")
    table.add_column("tokens", justify="right")
    for name in _NAMES:
        table.add_column(name, justify="right")
    for one in found:
        values = [getattr(one.full, name) for name in _NAMES]
        table.add_row(one.name, f"{one.context:,}", *map(megabytes, values))
    return table


def plot_memory(found: list[Memory], machine: Machine, file: Path) -> None:
    """The parts of each model at its whole context, on end."""
    parts = {
        name: [getattr(one.full, name) / 1e6 for one in found] for name in _NAMES if name != "total"
    }
    models = [f"{one.name}\n{one.quant}, {one.context:,} tokens" for one in found]
    with picture(file, size=(10, 2.5 + 0.6 * len(found))) as axes:
        stacked_bars(axes, models, parts)
        axes.set_xlabel("MB (10^6 bytes)")
        describe(axes, _full(found), machine)


def _full(found: list[Memory]) -> str:
    lengths = {one.context for one in found}
    size = f"{lengths.pop():,}" if len(lengths) == 1 else "so many"
    return f"resident MB at {size} tokens of context"
