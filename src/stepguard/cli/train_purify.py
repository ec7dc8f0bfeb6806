"""stepguard train purify: which training records do harm."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from stepguard.cli.arguments import count, output_file
from stepguard.cli.head import question_mode_of
from stepguard.cli.load import add_engine, add_model, load_guard
from stepguard.cli.progress import progress_bar
from stepguard.cli.show import add_json, console, formatted, plain, print_json
from stepguard.extras import needs

_DESCRIPTION = """\
Ranks labelled trajectories by the harm that they do: how much lower the loss on other records would
be without them. Wrong labels come first. A head on the guard's frozen hidden rows stands for the
guard, so that it takes minutes.

  stepguard train purify OUT data.jsonl.gz --out ranked.jsonl
  stepguard train purify OUT data.jsonl.gz --target clean.jsonl --out ranked.jsonl --rows rows.jsonl

Without --target the records judge each other, by families in turn. Look at the worst ones before
you leave them out: a record can be rare and right.

--by preference  whether its gradient helps right verdicts against wrong ones
     exact       influence by the head's own curvature
     datainf     the same from gradients alone, in closed form
     loss        its own loss, to compare with
Needs the packages of: pip install 'stepguard[train]'
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command below `stepguard train`."""
    from stepguard.train.influence import METHODS

    parser = actions.add_parser("purify", help="harmful records", **formatted(_DESCRIPTION))
    add_model(parser)
    parser.add_argument("data", nargs="+", type=Path, help=".jsonl or .jsonl.gz files")
    text = "records whose loss counts; none of their families is ranked"
    parser.add_argument(
        "--target", nargs="+", action="extend", type=Path, metavar="FILE", help=text
    )
    text = "what orders the list (%(default)s)"
    parser.add_argument("--by", choices=METHODS, default=METHODS[0], help=text)
    text = "of the head: the inverse of its penalty (default: the best on held-out sources)"
    parser.add_argument("--strength", type=float, metavar="C", help=text)
    parser.add_argument(
        "--out", type=output_file, metavar="FILE", help="the whole list, a line a record"
    )
    parser.add_argument("--top", type=count, default=20, metavar="N", help="to print (%(default)s)")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N records of each file")
    text = "keep the hidden rows there: a run that was cut off goes on"
    parser.add_argument("--rows", type=Path, metavar="FILE", help=text)
    add_engine(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reads hidden rows, ranks, prints and writes."""
    with needs("train", "stepguard train purify"):
        from stepguard.train.influence.purify import check_apart, purify
        from stepguard.train.records import read_records
        from stepguard.train.rows import read_rows
    records = read_records(arguments.data, arguments.limit)
    targets = read_records(arguments.target, arguments.limit) if arguments.target else []
    check_apart(records, targets)
    with (
        load_guard(arguments, mode=question_mode_of(arguments.model)) as guard,
        progress_bar("reading", "records") as bar,
    ):
        rows = read_rows(guard, [*records, *targets], arguments.rows, bar)
    own, goal = rows[: len(records)], rows[len(records) :]
    ranked = purify(
        records, own, (targets, goal) if targets else None, arguments.by, arguments.strength
    )
    values = [one.to_dict() for one in ranked]
    if arguments.out is not None:
        text = "".join(json.dumps(value) + "\n" for value in values)
        arguments.out.write_text(text, encoding="utf-8")
    if arguments.json:
        print_json({"records": len(records), "targets": len(targets), "ranked": values})
    else:
        _print(values[: arguments.top], arguments, len(values))
    return 0


def _print(values: list[dict[str, Any]], arguments: argparse.Namespace, asked: int) -> None:
    from stepguard.train.influence import METHODS

    table = Table(box=None, pad_edge=False)
    for name in ("rank", "record", "source", "label", *METHODS):
        table.add_column(name, justify="left" if name in ("record", "source") else "right")
    for value in values:
        harms = [f"{value['harms'][name]:.4g}" for name in METHODS]
        label = "unsafe" if value["label"] else "safe"
        table.add_row(
            str(value["rank"]), plain(value["name"], 48), plain(value["source"]), label, *harms
        )
    out = console()
    out.print(table)
    where = f", all of them in {plain(str(arguments.out))}" if arguments.out else ""
    out.print(f"{len(values)} of {asked} records{where}; ordered by {arguments.by}.")
