"""The commands below `stepguard bench`: their arguments and their help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from stepguard.bench.arguments import add_threads, seconds
from stepguard.bench.cli_cold import add_cold_parser
from stepguard.bench.cli_kernels import add_kernels_parser
from stepguard.bench.cli_latency import add_latency_parser, add_prefill_parser
from stepguard.bench.cli_pairs import add_pairs_parser
from stepguard.bench.cli_quality import add_quality_parser
from stepguard.bench.cli_shapes import add_shape_parsers
from stepguard.bench.cli_sizes import add_sizes_parser
from stepguard.bench.cli_throughput import add_throughput_parser
from stepguard.bench.ending import ending
from stepguard.bench.outputs import add_json_file, add_json_output, add_plot
from stepguard.bench.run_fidelity import run_fidelity
from stepguard.bench.run_growth import run_growth
from stepguard.bench.run_modes import run_modes
from stepguard.bench.run_neighbours import run_neighbours
from stepguard.cli.arguments import count, seed
from stepguard.cli.show import add_activations, formatted

_FIDELITY = """\
Reads the same trajectories with a float32 export and with others of the same checkpoint, asks at
every agent action, and compares: margins (logit of unsafe less logit of safe), label logits, and
verdicts that flip at a margin of 0. Then, at the threshold of the first MODEL that is calibrated
(else of the reference; a margin of 0 where none is): how many verdicts fall on the same side, of
all and of the fifth that is nearest to it, by how much AUROC changes where the data have labels,
and the bytes of the files. Where one class has few verdicts nearly all agree: --balance leaves
trajectories out until each class has a quarter.

  stepguard bench fidelity guard-f32 guard-int8 guard-int4 --data trajectories.jsonl.gz
  stepguard bench fidelity guard-int4 --modes --data trajectories.jsonl.gz

With --modes one guard answers in each of its modes (read behind a frame, written out ...): how
often they agree, and how their margins correlate. Its JSON has seconds by mode, and agreements: a
list of {first, second, verdicts, first_unavailable, second_unavailable, both, agree, correlation,
rank_correlation}.
With --json [FILE] one object: benchmark, machine, settings {samples, cut, seed, files, balance},
reference, threshold {calibration_of, margin, stopped}, models: a list of {model, comparison
{verdicts, margin_mean, margin_p95, margin_max, margin_bias, margin_spread, logit_mean, logit_max,
flips}, agreement {agree, near, shift, auroc}, bytes}; each of the agreement is {value, low, high},
95 % over families drawn again.
"""
_GROWTH = """\
Times a step of some tokens and its verdict at growing lengths of context, beside reading everything
again, in turns. The label logits of both ways must be the same bits, or no time is printed.

  stepguard bench growth guard-int4 --plot growth.png
  stepguard bench growth guard-int4 --to 32768

With --json [FILE] one object: benchmark, machine, model, settings {text, step, repeats, seed},
peaks, points: a list of {context, step, question, step_ms, again_ms, step_ms_median,
again_ms_median, ratio}, growth {from, to, slower_ms, attention_ms, ratio}, cases; times are
milliseconds, and a path of `context` tokens holds the step and the question.
"""
_NEIGHBOURS = """\
Times loops of NumPy and PyTorch alone and in a process with an idle guard, and a step with its
verdict alone and beside a process that never rests, each in turns. Run it on a machine at rest.

  stepguard bench neighbours guard-int4

With --json FILE one object: benchmark, machine, model, settings {context, step, repeats, loops,
products, idle}, idle {seconds, cpu_seconds}, cases: a list of {name, limit, alone_ms, beside_ms,
alone_ms_median, beside_ms_median, ratio}; times are milliseconds, `limit` is the largest ratio that
is promised.
"""


def add_parsers(commands: Any) -> None:
    """Adds every measurement to the subparsers of `stepguard bench`."""
    _add_fidelity(commands)
    _add_growth(commands)
    _add_neighbours(commands)
    add_quality_parser(commands)
    add_pairs_parser(commands)
    add_latency_parser(commands)
    add_prefill_parser(commands)
    add_throughput_parser(commands)
    add_cold_parser(commands)
    add_kernels_parser(commands)
    add_sizes_parser(commands)
    add_shape_parsers(commands)
    for parser in commands.choices.values():
        parser.set_defaults(run=ending(parser.get_default("run")))


def _add_fidelity(commands: Any) -> None:
    text = "quantised margins beside float32"
    parser = commands.add_parser("fidelity", help=text, **formatted(_FIDELITY))
    parser.add_argument("reference", type=Path, help="a float32 model directory")
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL", help="others to compare")
    parser.add_argument(
        "--kv", choices=["fp16", "fp32"], help="compare the reference on pages of this type too"
    )
    parser.add_argument(
        "--activations",
        choices=["fp32", "int8"],
        nargs="+",
        help="read each MODEL with these; without it: as it runs when nobody says",
    )
    parser.add_argument(
        "--modes", action="store_true", help="compare the modes of the first guard instead"
    )
    parser.add_argument(
        "--rationale-limit", type=count, metavar="N", help="most tokens of a written answer"
    )
    parser.add_argument("--limit", type=count, default=50, help="trajectories (%(default)s)")
    parser.add_argument("--cut", type=count, default=2048, help="most tokens (%(default)s)")
    text = "leave out trajectories, those with the least of the rarer class first, until the "
    text += "reference stops at least a quarter of the verdicts and lets at least a quarter pass"
    parser.add_argument("--balance", action="store_true", help=text)
    _add_data(parser, "trajectories, .jsonl or .jsonl.gz", required=True)
    _add_common(parser)
    parser.set_defaults(run=_run_fidelity, usage=parser.error)


def _run_fidelity(arguments: argparse.Namespace) -> int:
    return run_modes(arguments) if arguments.modes else run_fidelity(arguments)


def _add_growth(commands: Any) -> None:
    text = "what a step costs as the context grows"
    parser = commands.add_parser("growth", help=text, **formatted(_GROWTH))
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model directory")
    parser.add_argument("--to", type=count, default=8192, help="longest context (%(default)s)")
    parser.add_argument("--step", type=count, default=64, help="tokens of a step (%(default)s)")
    text = "longest context that is read again, too: that takes minutes at 32k (%(default)s)"
    parser.add_argument("--again-to", type=count, default=8192, metavar="N", help=text)
    parser.add_argument("--repeats", type=count, default=5, help="timings of each (%(default)s)")
    add_plot(parser)
    _add_data(parser, "trajectories to take the text of; without it: random ids", required=False)
    add_activations(parser)
    _add_common(parser)
    parser.set_defaults(run=run_growth, usage=parser.error)


def _add_neighbours(commands: Any) -> None:
    text = "what a guard and the programs beside it cost each other"
    parser = commands.add_parser("neighbours", help=text, **formatted(_NEIGHBOURS))
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model directory")
    parser.add_argument(
        "--context", type=count, default=512, help="tokens before the step (%(default)s)"
    )
    parser.add_argument("--step", type=count, default=64, help="tokens of a step (%(default)s)")
    parser.add_argument("--repeats", type=count, default=15, help="timings of each (%(default)s)")
    kinds = ["numpy", "torch"]
    parser.add_argument("--loops", nargs="+", choices=kinds, default=kinds, help="what is timed")
    text = "products of matrices in a loop (%(default)s)"
    parser.add_argument("--products", type=count, default=40, metavar="N", help=text)
    text = "seconds that the idle guard is watched (%(default)s)"
    parser.add_argument("--idle", type=seconds, default=5.0, metavar="SECONDS", help=text)
    add_threads(parser)
    add_json_file(parser)
    parser.set_defaults(run=run_neighbours, usage=parser.error)


def _add_data(parser: argparse.ArgumentParser, text: str, required: bool) -> None:
    parser.add_argument(
        "--data", type=Path, nargs="+", required=required, default=[], metavar="FILE", help=text
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed, default=0, help="chooses the text (%(default)s)")
    add_threads(parser)
    parser.add_argument("--isa", metavar="NAME", help="kernel table, see `stepguard info`")
    add_json_output(parser)
