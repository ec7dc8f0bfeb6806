"""stepguard train generate: labelled trajectories from the grammar."""

from __future__ import annotations

import argparse
from pathlib import Path

from stepguard.cli.progress import progress_bar
from stepguard.cli.show import add_json, console, formatted, print_json

_DESCRIPTION = """\
Writes trajectories from a grammar of tasks, tools, risks and defences: an unsafe one, then its safe
twin, which differs in what the agent does and in as little else as can be. docs/data.md says how.

  stepguard train generate OUT.jsonl --seed 0 --count 2000
  stepguard train generate TEST.jsonl --split held-out
  stepguard train generate --pair examples/pair

The same seed gives the same bytes. Families of different splits share no task; they do share some
of the decisive calls, the phrases, and small looks around on the side.
--pair writes the one pair of the held-out families that is chosen by hash, and nothing else.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "generate", help="trajectories with labels", **formatted(_DESCRIPTION)
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("out", metavar="OUT", nargs="?", type=Path, help="a .jsonl file to write")
    where.add_argument("--pair", metavar="FOLDER", type=Path, help="write the example pair there")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(%(default)s)")
    text = "how many records (%(default)s)"
    parser.add_argument("--count", type=_count, default=2000, metavar="N", help=text)
    text = "which families: those to train on, those held out for the measure, or all (%(default)s)"
    splits = ["train", "held-out", "all"]
    parser.add_argument("--split", choices=splits, default=splits[0], help=text)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the file, or the pair."""
    from stepguard.train.generator import families, write, write_pair

    if arguments.pair is not None:
        write_pair(arguments.pair)
        return 0
    with progress_bar("writing", "records") as bar:
        digest = write(arguments.out, arguments.seed, arguments.count, arguments.split, bar)
    facts = {
        "file": str(arguments.out),
        "records": arguments.count,
        "families": len(families(arguments.split)),
        "split": arguments.split,
        "seed": arguments.seed,
        "sha256": digest,
    }
    if arguments.json:
        print_json(facts)
    else:
        console().print(
            f"{facts['records']} records of {facts['families']} families ({facts['split']}), seed "
            f"{facts['seed']}, SHA-256 {digest}"
        )
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value
