"""The arguments of `stepguard bench throughput`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepguard.bench.arguments import add_engines, add_question, parse_counts
from stepguard.bench.outputs import add_plot
from stepguard.bench.run_throughput import run_throughput
from stepguard.bench.shapes import GUARDS
from stepguard.cli.arguments import count, seed
from stepguard.cli.show import formatted

_THROUGHPUT = f"""\
Several sessions at once: each has a context of its own, and in every round a step of new tokens
arrives in each of them and its verdict is wanted. Prints verdicts a second, and how long a verdict
was waited for (from the begin of its round), alone and while a long text is read beside them.
Other engines serve the sessions in the way that is fastest for them, in one batch or one after the
other; what is read beside, they read in parts between the rounds. Logits are compared before
anything is timed, and ours must be the same bits in however large a company. An engine that fails
is said with the reason and left out of every case; the others go on.

  stepguard bench throughput --shape qwen3.5-0.8b --work /var/tmp/bench
  stepguard bench throughput --shape qwen3.5-0.8b --sessions 1,8 --context 512 --peers genai
  stepguard bench throughput guard --plot throughput.png

With a MODEL ours is measured alone: other engines cannot read it. --work keeps what was made.
--activations is for ours, too, whatever a MODEL was calibrated for.

With --json FILE one object: benchmark, machine, model, settings, versions, missing, cases: a list
of {{name, tokens, ours_ms, peers, best_peer, ratio (milliseconds per verdict), sessions, beside,
verdicts_per_second, latency_ms {{p50, p95, p99}}, ways, cosines, times_ms}}.

shapes: {", ".join(GUARDS)}
"""


def add_throughput_parser(commands: Any) -> None:
    """Adds the command to the subparsers of `stepguard bench`."""
    parser = commands.add_parser(
        "throughput", help="verdicts a second of many sessions", **formatted(_THROUGHPUT)
    )
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="a model directory")
    parser.add_argument("--shape", metavar="NAME", help="random weights of a shape, see above")
    text = "how many sessions at once, with commas between (1,2,4,8,16)"
    parser.add_argument("--sessions", type=parse_counts, default=[1, 2, 4, 8, 16], help=text)
    text = "tokens that each session has read (%(default)s)"
    parser.add_argument("--context", type=count, default=2048, metavar="N", help=text)
    text = "tokens of a step (%(default)s)"
    parser.add_argument("--new", type=count, default=16, metavar="N", help=text)
    add_question(parser)
    text = "tokens of the long text that is read beside, 0 for none (%(default)s)"
    parser.add_argument("--beside", type=seed, default=2048, metavar="N", help=text)
    text = "rounds of each number of sessions (%(default)s)"
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help=text)
    add_plot(parser)
    add_engines(parser, ["genai", "llama.cpp"])
    parser.set_defaults(run=run_throughput, usage=parser.error)
