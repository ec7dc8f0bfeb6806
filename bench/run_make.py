"""stepguard bench make-model and make-checkpoint: random weights of a guard's shape."""

from __future__ import annotations

import argparse
import time

from stepguard.bench.report import megabytes
from stepguard.bench.shapes import find_shape, make_checkpoint, make_model
from stepguard.cli.export import print_summary
from stepguard.cli.show import console, plain
from stepguard.export import progress_bar


def run_make_model(arguments: argparse.Namespace) -> int:
    """Makes a model directory, and prints what came out."""
    shape = find_shape(arguments.shape)
    started = time.perf_counter()
    with progress_bar() as report:
        manifest = make_model(
            shape,
            arguments.out,
            quant=arguments.quant,
            seed=arguments.seed,
            progress=report,
            overwrite=arguments.force,
        )
    print_summary(arguments.out, manifest, time.perf_counter() - started)
    return 0


def run_make_checkpoint(arguments: argparse.Namespace) -> int:
    """Makes a checkpoint folder, and prints what came out."""
    shape = find_shape(arguments.shape)
    with progress_bar() as report:
        size = make_checkpoint(
            shape, arguments.out, seed=arguments.seed, progress=report, overwrite=arguments.force
        )
    text = f"{arguments.out}: {megabytes(size)} MB of random weights, shape {shape.name}"
    console().print(plain(text), soft_wrap=True)
    return 0
