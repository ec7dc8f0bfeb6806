"""stepguard train check: what may be trained on, and what repeats a test split."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from stepguard.cli.show import add_json, console, formatted, grid, print_json
from stepguard.extras import needs

_DESCRIPTION = """\
Reads labelled trajectories and says which of them must not go into an adapter that is given away
(the agent is a Llama model, the record is made from AgentHarm), how they split by family, and
whether any of them repeats a record of a test split (word 13-grams in common).

  stepguard train check data.jsonl.gz more.jsonl
  stepguard train check data.jsonl --test a.jsonl b.jsonl --list records.tsv

Exit status 1 when a record that is left shares half or more with a test record.
Needs the packages of: pip install 'stepguard[train]'
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser("check", help="licences and overlap", **formatted(_DESCRIPTION))
    parser.add_argument("data", nargs="+", type=Path, help=".jsonl or .jsonl.gz files to train on")
    text = "test splits, a file each; without them nothing is compared"
    parser.add_argument(
        "--test", nargs="+", action="extend", type=Path, default=[], metavar="FILE", help=text
    )
    text = "leave out records that do not say which model the agent is"
    parser.add_argument("--named-only", action="store_true", help=text)
    text = "write what may be trained on there: SHA-256, source and name of each record"
    parser.add_argument("--list", type=Path, metavar="FILE", help=text)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reads, counts, compares, prints."""
    with needs("train", "stepguard train check"):
        from stepguard.train.licence import counted, may_ship, unnamed
        from stepguard.train.overlap import overlaps
        from stepguard.train.records import digest_of, read_records
        from stepguard.train.splits import by_family
    records = read_records(arguments.data)
    kept, left = may_ship(records, named_only=arguments.named_only)
    found = overlaps(kept, {str(file): read_records([file]) for file in arguments.test})
    if arguments.list is not None:
        lines = sorted(f"{one.sha256}\t{one.source}\t{one.name}\n" for one in kept)
        arguments.list.write_text("".join(lines), encoding="utf-8")
    facts = {
        "records": len(records),
        "kept": len(kept),
        "sha256": digest_of(kept),
        "sources": dict(sorted(Counter(record.source for record in kept).items())),
        "agent_not_named": sum(map(unnamed, kept)),
        "left_out": [
            {"source": source, "reason": reason, "records": count}
            for (source, reason), count in counted(left).items()
        ],
        "splits": {name: len(part) for name, part in by_family(kept).items()},
        "overlap": [
            {"test": one.split, "over": [kept[i].name for i in one.over()], "line": one.line()}
            for one in found
        ],
    }
    if arguments.json:
        print_json(facts)
    else:
        _print(facts)
    return 1 if any(one.over() for one in found) else 0


def _print(facts: dict[str, Any]) -> None:
    sources = ", ".join(f"{count} {name}" for name, count in facts["sources"].items())
    rows = {
        "records": f"{facts['records']}, of which {facts['kept']} may be trained on: {sources}",
        "not named": f"{facts['agent_not_named']} of these do not say which model the agent is",
        "by family": ", ".join(f"{count} {name}" for name, count in facts["splits"].items()),
        "SHA-256": facts["sha256"],
    }
    table, out = grid(), console()
    for name, value in rows.items():
        table.add_row(name, value)
    for one in facts["left_out"]:
        table.add_row("left out", f"{one['records']} of {one['source']}: {one['reason']}")
    for one in facts["overlap"]:
        table.add_row("overlap", one["line"])
    out.print(table)
