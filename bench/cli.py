"""The commands below `stepguard bench`: their arguments and their help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from stepguard.bench.arguments import count
from stepguard.bench.cli_shapes import add_shape_parsers
from stepguard.bench.run_fidelity import run_fidelity
from stepguard.bench.run_growth import run_growth
from stepguard.cli.show import add_json, formatted

_FIDELITY = """\
Reads the same trajectories with a float32 export and with others of the same checkpoint, asks at
every agent action, and compares: margins (logit of unsafe less logit of safe), label logits, and
verdicts that flip.

  stepguard bench fidelity guard-f32 guard-int8 guard-int4 --data trajectories.jsonl.gz

With --json one object: benchmark, machine, settings {samples, cut, seed, files}, reference, models:
a list of {model, machine, comparison {verdicts, margin_mean, margin_p95, margin_max, margin_bias,
margin_spread, logit_mean, logit_max, flips}}.
"""
_GROWTH = """\
Times a step of some tokens and its verdict at growing lengths of context, beside reading everything
again, in turns. The label logits of both ways must be the same bits, or no time is printed.

  stepguard bench growth guard-int4 --plot growth.png

With --json one object: benchmark, machine, model, settings {text, step, repeats, seed}, points: a
list of {context, step, question, step_ms, again_ms, step_ms_median, again_ms_median, ratio}; times
are milliseconds, and a path of `context` tokens holds the step and the question.
"""


def add_parsers(commands: Any) -> None:
    """Adds every measurement to the subparsers of `stepguard bench`."""
    _add_fidelity(commands)
    _add_growth(commands)
    add_shape_parsers(commands)


def _add_fidelity(commands: Any) -> None:
    text = "quantised margins beside float32"
    parser = commands.add_parser("fidelity", help=text, **formatted(_FIDELITY))
    parser.add_argument("reference", type=Path, help="a float32 model directory")
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL", help="others to compare")
    parser.add_argument(
        "--kv", choices=["fp16", "fp32"], help="compare the reference on pages of this type too"
    )
    parser.add_argument("--limit", type=count, default=50, help="trajectories (%(default)s)")
    parser.add_argument("--cut", type=count, default=2048, help="most tokens (%(default)s)")
    _add_data(parser, "trajectories, .jsonl or .jsonl.gz", required=True)
    _add_common(parser)
    parser.set_defaults(run=run_fidelity, usage=parser.error)


def _add_growth(commands: Any) -> None:
    text = "what a step costs as the context grows"
    parser = commands.add_parser("growth", help=text, **formatted(_GROWTH))
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model directory")
    parser.add_argument("--to", type=count, default=8192, help="longest context (%(default)s)")
    parser.add_argument("--step", type=count, default=64, help="tokens of a step (%(default)s)")
    parser.add_argument("--repeats", type=count, default=5, help="timings of each (%(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the result")
    _add_data(parser, "trajectories to take the text of; without it: random ids", required=False)
    _add_common(parser)
    parser.set_defaults(run=run_growth, usage=parser.error)


def _add_data(parser: argparse.ArgumentParser, text: str, required: bool) -> None:
    parser.add_argument(
        "--data", type=Path, nargs="+", required=required, default=[], metavar="FILE", help=text
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="chooses the text (%(default)s)")
    parser.add_argument("--threads", type=count, help="threads of a forward pass")
    parser.add_argument("--isa", metavar="NAME", help="kernel table, see `stepguard info`")
    add_json(parser)
