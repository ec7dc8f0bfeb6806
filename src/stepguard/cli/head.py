"""stepguard head: heads on a guard's hidden rows, from labelled trajectories."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from stepguard.cli.load import add_engine, add_model, load_guard
from stepguard.cli.progress import progress_bar
from stepguard.cli.show import add_json, console, formatted, grid, plain, print_json
from stepguard.extras import needs
from stepguard.manifest import load
from stepguard.prompt import Prompt
from stepguard.prompt.answers import RATIONALE

_DESCRIPTION = """\
Fits a small head on the model's last hidden row behind the question, at every labelled action, and
writes it into the model directory. For guards that were never trained to judge, and any other.

  stepguard head fit OUT data.jsonl.gz other.jsonl    the head of the verdict
  stepguard moderate OUT trajectory.json --mode head  verdicts by it
  stepguard calibrate OUT more.jsonl --mode head --target-fnr 0.05
  stepguard head fit OUT data.jsonl --target risk_source      a label of unsafe trajectories

Records are those of `stepguard calibrate`, and hold risk_source, failure_mode or harm_type for the
heads of these dimensions. Give several sources: the head is chosen by how well it does on sources
that it has not seen, and that number is the one to believe. Use other records for the calibration.
Needs the packages of: pip install 'stepguard[train]'
"""
_TARGETS = ["verdict", "risk_source", "failure_mode", "real_world_harm"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "head", help="verdicts from hidden rows", **formatted(_DESCRIPTION)
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    parser = actions.add_parser("fit", help="from labelled records", **formatted(_DESCRIPTION))
    add_model(parser)
    parser.add_argument("data", nargs="+", type=Path, help=".jsonl or .jsonl.gz files")
    text = "one layer, or a hidden one of 32 units (%(default)s)"
    parser.add_argument("--kind", choices=["logistic", "mlp"], default="logistic", help=text)
    text = "what it tells (%(default)s)"
    parser.add_argument("--target", choices=_TARGETS, default=_TARGETS[0], help=text)
    parser.add_argument("--limit", type=int, metavar="N", help="at most N records of each file")
    text = "keep the hidden rows there: a run that was cut off goes on, other heads need no reading"
    parser.add_argument("--rows", type=Path, metavar="FILE", help=text)
    parser.add_argument("--dry-run", action="store_true", help="print, but change nothing")
    add_engine(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reads, fits, prints, and writes head and manifest."""
    with needs("train", "stepguard head"):
        from stepguard.train.attach import attach_head
        from stepguard.train.examples import label_rows
        from stepguard.train.heads import entry_of, fit_head
        from stepguard.train.records import read_records
        from stepguard.train.rows import read_rows, rows_key
    records = read_records(arguments.data, arguments.limit)
    with load_guard(arguments, mode=question_mode_of(arguments.model)) as guard:
        key = rows_key(guard)
        with progress_bar("reading", "records") as bar:
            rows = read_rows(guard, records, arguments.rows, bar)
    examples = label_rows(records, rows, arguments.target)
    with progress_bar("fitting", "sources") as bar:
        head, report = fit_head(examples, arguments.target, arguments.kind, bar)
    if not arguments.dry_run:
        attach_head(Path(arguments.model), head, entry_of(report, key, records), arguments.target)
    facts = {
        "records": len(records),
        "unread": sum(1 for one in rows if one.lost),
        "written": not arguments.dry_run,
    }
    if arguments.json:
        print_json({"guard": key, **facts, **report.to_dict()})
    else:
        _print(report, key, facts)
    return 0


def question_mode_of(model: str) -> str:
    """The one of the guard's modes that writes nothing."""
    prompt = Prompt.from_manifest(load(model).prompt)
    return next((name for name in prompt.modes if name != RATIONALE), prompt.mode)


def _print(report: Any, key: dict[str, str], facts: dict[str, Any]) -> None:
    counts = zip(report.labels, report.counts, strict=True)
    rows = {
        "data": f"{facts['records']} records, {report.families} families; {facts['unread']} of the "
        "records not read to their end",
        "prefixes": ", ".join(f"{count} {label}" for label, count in counts),
        "guard": ", ".join(f"{name} {value[:12]}" for name, value in key.items()),
        "head": f"{report.kind}, for {report.target}, strength {report.strength:g} of "
        + ", ".join(f"{strength:g}: {mean:.4f}" for strength, mean in report.chosen.items()),
        "manifest": "written" if facts["written"] else "not changed (--dry-run)",
    }
    table, out = grid(), console()
    for name, value in rows.items():
        table.add_row(name, plain(value))
    out.print(table)
    out.print(_sources(report))
    what = "AUROC over actions" if report.target == "verdict" else "mean recall of the labels"
    out.print(
        f"{what}, out of sample. within: families held out; across: the source held out; "
        "position: the same from the step's index alone; gain: across minus "
        "position; matched: the column before, among actions at the same step. In "
        "brackets the middle 95 % over draws of the families; --json has all of them."
    )


def _sources(report: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("source")
    for name in ("families", "prefixes", "within", "matched", "across", "matched", "position"):
        table.add_column(name, justify="right")
    table.add_column("gain, of across", justify="right")
    for one in (*report.sources, report.mean):
        values = map(
            _value, (one.within, one.matched_within, one.across, one.matched, one.position)
        )
        counts = str(one.families), str(one.prefixes)
        table.add_row(plain(one.name), *counts, *values, _interval(one.gain))
    return table


def _value(found: Any) -> str:
    return "-" if found.value is None else f"{found.value:.3f}"


def _interval(found: Any) -> str:
    if found.value is None:
        return "-"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
