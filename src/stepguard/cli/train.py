"""stepguard train: from data to a guard. One file per command below it, with `add` and `run`."""

from __future__ import annotations

import argparse

from stepguard.cli import (
    train_check,
    train_choose,
    train_generate,
    train_lora,
    train_purify,
    train_trace,
)
from stepguard.cli.show import formatted

_DESCRIPTION = """\
From labelled trajectories to a guard; docs/training.md is the whole road.

  stepguard train generate OUT.jsonl --seed 0 --count 2000    trajectories with labels and twins
  stepguard train check OUT.jsonl --test mine.jsonl           what may be used, and what overlaps
  stepguard train lora CHECKPOINT data.jsonl --out RUN        an adapter, in sittings
  stepguard train choose CHECKPOINT RUN --inside ...          which of its checkpoints
  stepguard train purify OUT data.jsonl --out ranked.jsonl    which records do harm
  stepguard train trace CHECKPOINT RUN/step-... data.jsonl    the same by the adapter's gradients

All but generate need the packages of: pip install 'stepguard[train]'
"""
_COMMANDS = (train_generate, train_check, train_lora, train_choose, train_purify, train_trace)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and those below it."""
    parser = commands.add_parser(
        "train", help="teach a base model to judge", **formatted(_DESCRIPTION)
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(actions)
