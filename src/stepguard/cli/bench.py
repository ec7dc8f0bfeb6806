"""stepguard bench: measurements. The room `bench` has them, and is loaded when it is asked for."""

from __future__ import annotations

import argparse

from stepguard.cli.show import formatted
from stepguard.extras import needs

_DESCRIPTION = """\
Measures: every number comes with the machine, the versions and the settings that gave it.

  stepguard bench sizes                          which guard this machine can afford
  stepguard bench latency --shape qwen3.5-0.8b   a step verdict beside other engines
  stepguard bench growth OUT                     a step and its verdict as the context grows
  stepguard bench fidelity F32 INT8 --data FILE  quantised margins beside float32
  stepguard bench quality OUT DATA               right and wrong verdicts, beside shallow cues
  stepguard bench memory OUT                     what a guard costs in memory, part by part
  stepguard bench shapes --all                   every shape of guard, end to end
  stepguard bench export --shape qwen3.5-4b      time and memory of an export

No checkpoint at hand? Random weights cost the time and memory of real ones:

  stepguard bench make-model --shape qwen3.5-4b OUT
  stepguard bench make-checkpoint --shape qwen3.5-4b CHECKPOINT

Needs the packages of: pip install 'stepguard[bench]'
"""


def add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], *, load: bool = False
) -> None:
    """Adds the command; its own commands only when `load` says that one of them is wanted."""
    parser = commands.add_parser("bench", help="measure", **formatted(_DESCRIPTION))
    if not load:
        return
    with needs("bench", "stepguard bench", "the room bench and its packages"):
        from stepguard.bench.cli import add_parsers
    add_parsers(parser.add_subparsers(title="measurements", metavar="NAME", required=True))
