"""The arguments of `stepguard bench kernels`."""

from __future__ import annotations

from typing import Any

from stepguard.bench.arguments import default_threads, parse_counts, seconds
from stepguard.bench.outputs import add_json_file, add_plot
from stepguard.bench.run_kernels import run_kernels
from stepguard.bench.shapes import GUARDS
from stepguard.cli.arguments import count, threads
from stepguard.cli.show import formatted
from stepguard.runtime import ACTIVATIONS

_KERNELS = f"""\
Runs every operation of a shape with every kernel table of this CPU, with random numbers of the
sizes that a forward pass has. Each is compared with the table `generic` first; one that answers
something else ends the command, and no time is printed. Then its speed, beside what was measured
that this machine can do at most: memory bandwidth, and the multiply-adds of each instruction set.
Weights, pages and states come from memory, as in a forward pass.

  stepguard bench kernels --shape qwen3.5-0.8b --rows 1,40,88
  stepguard bench kernels --isa avx2 --ops mlp.gate_up attention --json kernels.json
  stepguard bench kernels --ops mlp.down --activations fp32 int8 --plot kernels.png

With --json FILE one object: benchmark, machine, shape, settings, peaks {{threads, memory_gb_s,
gop_s}}, cases: a list of {{name, ours_ms, peers, best_peer, ratio (there are no peers), error,
gb_s, gop_s, arithmetic, share, bound}}.

shapes: {", ".join(GUARDS)}
"""


def add_kernels_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    text = "every operation with every kernel table"
    parser = commands.add_parser("kernels", help=text, **formatted(_KERNELS))
    text = "whose sizes, see above (%(default)s)"
    parser.add_argument("--shape", default="qwen3.5-0.8b", metavar="NAME", help=text)
    text = "rows of a forward pass, with commas between (1,40,88,512)"
    parser.add_argument("--rows", type=parse_counts, default=[1, 40, 88, 512], help=text)
    text = "tokens that attention looks at (%(default)s)"
    parser.add_argument("--context", type=count, default=2136, metavar="N", help=text)
    choices = ["int4", "int8", "float32"]
    text = "how weights are stored (%(default)s)"
    parser.add_argument("--quant", choices=choices, default="int4", help=text)
    text = "what int4 and int8 weights are multiplied with, one or several: bf16 with the table "
    text += "amx only (what each table takes by itself: amx bf16 beside int4 weights, else int8)"
    parser.add_argument("--activations", choices=list(ACTIVATIONS), nargs="+", help=text)
    text = "type of the KV pages (%(default)s)"
    parser.add_argument("--kv", choices=["fp16", "fp32"], default="fp16", help=text)
    text = "kernel tables, see `stepguard info` (that of STEPGUARD_ISA, else all but the reference)"
    parser.add_argument("--isa", nargs="+", metavar="NAME", help=text)
    parser.add_argument("--ops", nargs="+", metavar="NAME", help="operations, by name (all)")
    text = "threads (%(default)s)"
    parser.add_argument("--threads", type=threads, default=default_threads(), help=text)
    text = "how long each is timed (%(default)s)"
    parser.add_argument("--seconds", type=seconds, default=0.2, help=text)
    add_plot(parser)
    add_json_file(parser)
    parser.set_defaults(run=run_kernels, usage=parser.error)
