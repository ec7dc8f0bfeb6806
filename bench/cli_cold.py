"""The arguments of `stepguard bench cold`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepguard.bench.arguments import add_threads
from stepguard.bench.outputs import add_json_file, add_plot
from stepguard.bench.run_cold import run_cold
from stepguard.bench.shapes import GUARDS
from stepguard.cli.arguments import count
from stepguard.cli.show import formatted

_COLD = f"""\
Starts fresh processes that load a guard and judge one step, and says where the time goes: the
interpreter, imports, the library of ONNX Runtime, verification of the files, tokenizer, graph and
session, the saved State of the prompt's constant part, the step and its question. The first start
hashes the weights and reads the prompt; later ones find both done. CPU time tells more than the
clock where other programs run.

  stepguard bench cold guard
  stepguard bench cold --shape qwen3.5-0.8b --work /var/tmp/bench --json cold.json
  stepguard bench cold guard --plot cold.svg

With --json FILE one object: benchmark, machine, model, settings, cases: a list of one {{name,
ours_ms, peers, best_peer, ratio, first {{total, ms, cpu_ms, tokens}}, later, median_ms,
median_cpu_ms}}.

shapes: {", ".join(GUARDS)}
"""


def add_cold_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    text = "from the start of a process to its first verdict"
    parser = commands.add_parser("cold", help=text, **formatted(_COLD))
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="a model directory")
    parser.add_argument("--shape", metavar="NAME", help="random weights of a shape, see above")
    text = "tokens of the step, about (%(default)s)"
    parser.add_argument("--new", type=count, default=64, metavar="N", help=text)
    text = "processes after the first one (%(default)s)"
    parser.add_argument("--runs", type=count, default=7, metavar="N", help=text)
    text = "let the system forget the model's files before each start: they come from the disk"
    parser.add_argument("--from-disk", action="store_true", help=text)
    add_threads(parser)
    parser.add_argument("--isa", metavar="NAME", help="kernel table, see `stepguard info`")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where a model is made and kept")
    add_plot(parser)
    add_json_file(parser)
    parser.set_defaults(run=run_cold, usage=parser.error)
