"""The arguments of `stepguard bench sizes`."""

from __future__ import annotations

from typing import Any

from stepguard.bench.arguments import (
    add_engines,
    add_question,
    parse_counts,
    parse_names,
    parse_sizes,
)
from stepguard.bench.outputs import add_plot
from stepguard.bench.run_sizes import run_sizes
from stepguard.bench.shapes import GUARDS
from stepguard.cli.arguments import count
from stepguard.cli.show import formatted

_SIZES = f"""\
Which guard can this machine afford? Makes a random int4 model of every shape, one at a time, times
step verdicts and reading from nothing as `bench latency` does, and removes the model. What was
measured stays in --work: a run that was broken off goes on with the next shape, and further shapes
join the table. Other settings or activations, another machine, kernel table or version measure
again.

  stepguard bench sizes --work /var/tmp/sizes --plot sizes.png
  stepguard bench sizes --work /var/tmp/sizes --shapes qwen3.5-0.8b,qwen3.5-2b --new 16

A shape of 8 billion weights needs 6 GB of disk and as much memory. Random weights take the time of
real ones. A shape that cannot be measured is said, and the exit status is 1.

With --json FILE one object: benchmark, machine, shapes: a list of {{shape, machine, settings,
versions, missing, peaks, memory, weights, cases}}, problems {{shape: why}}, cases: all of them as
in `bench latency`.

shapes: {", ".join(GUARDS)}
"""


def add_sizes_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    text = "what every size of guard costs on this machine"
    parser = commands.add_parser("sizes", help=text, **formatted(_SIZES))
    text = "with commas between, see above (all, the smallest first)"
    parser.add_argument("--shapes", type=parse_names, metavar="NAMES", help=text)
    text = "tokens of steps, with commas between (16,64,256)"
    parser.add_argument("--new", type=parse_counts, default=[16, 64, 256], help=text)
    text = "tokens that were read before (%(default)s)"
    parser.add_argument("--context", type=count, default=2048, metavar="N", help=text)
    add_question(parser)
    text = "tokens that are read from nothing, with commas between, 0 for none (512)"
    parser.add_argument("--prefill", type=parse_sizes, default=[512], help=text)
    parser.add_argument("--repeats", type=count, default=3, help="timings of each (%(default)s)")
    text = "measure again what is known"
    parser.add_argument("--force", action="store_true", help=text)
    add_plot(parser)
    add_engines(parser, [])
    parser.set_defaults(run=run_sizes, usage=parser.error, usual=0)
