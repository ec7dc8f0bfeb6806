"""stepguard bench export: time and peak memory of an export, of a random checkpoint."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich.table import Table

from stepguard.bench.child import Ran, run_command
from stepguard.bench.machine import Setup, describe_machine
from stepguard.bench.report import machine_text, megabytes, say
from stepguard.bench.run_memory import chosen_shapes
from stepguard.bench.shapes import GuardShape, checkpoint_bytes, make_checkpoint
from stepguard.cli.show import console
from stepguard.export import progress_bar
from stepguard.export.directory import check_space
from stepguard.runtime import active_isa, default_threads, find_onnxruntime

# Of the bytes of a bfloat16 checkpoint, what an export takes at most.
_SHARE = {"int4": 0.5, "int8": 0.7, "float32": 2.1}


def run_export(arguments: argparse.Namespace) -> int:
    """Makes a checkpoint of each shape, exports it in a process of its own, and removes both."""
    shapes = chosen_shapes(arguments)
    if not shapes:
        arguments.usage("nothing to export: give --shape NAME or --all")
    any_type = {"kv": "any type", "activations": "any type"}  # an export reads nothing
    machine = describe_machine(
        Setup(find_onnxruntime().version, active_isa(), default_threads(), **any_type)
    )
    table = Table(title=f"export of a bfloat16 checkpoint to {arguments.quant}")
    table.add_column("shape")
    for name in (
        "checkpoint, MB",
        "made in, s",
        "model, MB",
        "export, s",
        "CPU, s",
        "peak resident, MB",
    ):
        table.add_column(name, justify="right")
    for shape in shapes:
        size, made, model, ran = measure_export(shape, arguments.quant, arguments.work)
        sizes = (megabytes(size), f"{made:.0f}", megabytes(model))
        times = (f"{ran.seconds:.0f}", f"{ran.cpu_seconds:.0f}")
        table.add_row(shape.name, *sizes, *times, megabytes(ran.peak))
    console().print(machine_text(machine), soft_wrap=True)
    console().print(table)
    return 0


def measure_export(
    shape: GuardShape, quant: str, work: Path | None = None
) -> tuple[int, float, int, Ran]:
    """(bytes of the checkpoint, seconds to make it, bytes of the model, the export's process).

    Raises:
        ExportError: the disk of `work` is too small for both.
    """
    with tempfile.TemporaryDirectory(prefix=f"{shape.name}-", dir=work) as name:
        folder = Path(name)
        check_space(folder, int(checkpoint_bytes(shape) * (1 + _SHARE[quant])))
        say(f"{shape.name}: making a random checkpoint")
        started = time.perf_counter()
        with progress_bar() as report:
            size = make_checkpoint(shape, folder / "checkpoint", progress=report)
        made = time.perf_counter() - started
        say(f"{shape.name}: exporting it to {quant}")
        words = ("--quant", quant, "--template", "short")
        ran = run_command("export", folder / "checkpoint", folder / "model", *words)
        model = sum(file.stat().st_size for file in (folder / "model").iterdir())
        return size, made, model, ran
