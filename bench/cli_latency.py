"""The arguments of `stepguard bench latency` and `stepguard bench prefill`."""

from __future__ import annotations

import argparse
from typing import Any

from stepguard.bench.arguments import (
    OTHERS,
    add_engines,
    add_question,
    parse_counts,
    parse_sizes,
)
from stepguard.bench.latency.command import run_latency
from stepguard.bench.outputs import add_plot
from stepguard.bench.shapes import GUARDS
from stepguard.cli.arguments import count, seed
from stepguard.cli.show import formatted

_COMMON = f"""\
peers: {", ".join(OTHERS)}; what is not installed, or fails, is said, and the others are measured.
--work keeps what was made, so that a second run starts at once. STEPGUARD_ISA forces a kernel table
of ours, --activations what its Linears multiply weights with; the floor is that of their
instructions.

The floor is the least time that ours could take here: over all operations the larger of bytes by
the measured bandwidth and operations by the measured peak of the instructions used, added up.

With --json FILE one object: benchmark, machine, shape, settings, versions, missing, peaks, memory,
cases: a list of {{name, tokens, ours_ms, peers, best_peer, ratio, ratios, floor_ms, share_of_floor,
floor_parts_ms, profile_ms, cosines, times_ms}}.

With --device cuda ours and the peers that run there are on the GPU; the others, and what is missing
of a GPU, are said. The floor is then the time to read all int4 weights once, by the bandwidth that
was measured on the GPU, and memory is that of the host.

shapes: {", ".join(GUARDS)}
"""
_LATENCY = f"""\
Times a step verdict: some tokens are already read, a step of new ones arrives, and the answer after
a question is wanted, which must leave no trace. Other engines do the same in the best way that
their interfaces allow, with the same weights (random, all on the grid of Q4_0), in turns. Their
logits must be those of ours, or no time is printed.

  stepguard bench latency --shape qwen3.5-0.8b --new 16,64,256 --work /var/tmp/bench
  stepguard bench latency --shape smollm2-135m --peers none

{_COMMON}"""
_PREFILL = f"""\
Times reading tokens from nothing, all at once, up to the answer after the last: what a guard costs
where nothing was read before. The same engines, weights and checks as in `bench latency`.

  stepguard bench prefill --shape qwen3.5-0.8b --tokens 256,512 --work /var/tmp/bench

{_COMMON}"""


def add_latency_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    parser = commands.add_parser(
        "latency", help="a step verdict beside other engines", **formatted(_LATENCY)
    )
    parser.add_argument(
        "--new", type=parse_counts, default=[16, 64, 256], help="tokens of steps (16,64,256)"
    )
    parser.add_argument("--context", type=count, default=2048, help="read before (%(default)s)")
    add_question(parser)
    text = "tokens that are read from nothing, with commas between, 0 for none (512)"
    parser.add_argument("--prefill", type=parse_sizes, default=[512], help=text)
    text = (
        "time the peers in the usual way too, which reads everything again for each verdict: every "
        "step of --new N times (%(const)s); with large shapes each may take half a minute"
    )
    parser.add_argument("--usual", type=seed, nargs="?", const=1, default=0, metavar="N", help=text)
    _add_common(parser, "latency")


def add_prefill_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    parser = commands.add_parser(
        "prefill", help="reading from nothing beside other engines", **formatted(_PREFILL)
    )
    sizes = [256, 512, 1024, 2048]
    text = f"how many, with commas between ({','.join(map(str, sizes))})"
    parser.add_argument("--tokens", type=parse_counts, default=sizes, dest="prefill", help=text)
    parser.set_defaults(new=[], context=0, question=1, usual=0)
    _add_common(parser, "prefill")


def _add_common(parser: argparse.ArgumentParser, benchmark: str) -> None:
    parser.add_argument("--shape", required=True, metavar="NAME", help="a shape, see above")
    parser.add_argument("--repeats", type=count, default=5, help="timings of each (%(default)s)")
    add_plot(parser)
    add_engines(parser)
    parser.set_defaults(run=run_latency, usage=parser.error, benchmark=benchmark)
