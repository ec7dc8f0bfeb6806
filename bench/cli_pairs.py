"""The arguments of `stepguard bench pairs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepguard.bench.arguments import add_threads
from stepguard.bench.outputs import add_json_file
from stepguard.bench.run_pairs import run_pairs
from stepguard.cli.arguments import output_file
from stepguard.cli.show import add_activations, formatted

_PAIRS = """\
Reads pairs of the generator, an unsafe trajectory and its safe twin, and counts in how many the
unsafe one has the higher margin: at the act by which they differ, and as a whole (the largest
margin of all actions). Both are of one task, in one style, and of about one length, so that chance
gives one half, and so does whatever looks at nothing but length, tools or topic.

  stepguard train generate held-out.jsonl --split held-out --seed 1 --count 400
  stepguard bench pairs guard held-out.jsonl --json pairs.json

Intervals are 95 % over families drawn again. A tie is not right.

With --json FILE one object: benchmark, machine, model, settings {files}, data (SHA-256 over the
records), pairs, families, act and whole: {right, of, rate, low, high}, command.
"""


def add_pairs_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    text = "unsafe trajectories against their safe twins"
    parser = commands.add_parser("pairs", help=text, **formatted(_PAIRS))
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model directory")
    text = "what `stepguard train generate` wrote"
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA", help=text)
    text = "keep the margins there: a run that was cut off goes on"
    parser.add_argument("--scores", type=output_file, metavar="FILE", help=text)
    add_json_file(parser)
    parser.add_argument("--kv", choices=["fp16", "fp32"], help="type of the KV pages")
    add_activations(parser)
    add_threads(parser)
    parser.add_argument("--isa", metavar="NAME", help="kernel table, see `stepguard info`")
    parser.set_defaults(run=run_pairs, usage=parser.error)
