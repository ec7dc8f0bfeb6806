"""stepguard train choose: which checkpoint of a run, and whether to train on."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from rich.table import Table

from stepguard.cli.progress import progress_bar
from stepguard.cli.show import add_json, console, formatted, plain, print_json
from stepguard.cli.train_lora import add_base, open_from
from stepguard.extras import needs

_DESCRIPTION = """\
Measures every checkpoint of a run of `stepguard train lora`, and the base before it learned, on
three validation splits: AUROC over labelled actions in domain and on sources that were held out,
and the share of safe-only traffic that passes. Then it says where the run stands: recovered; still
in the dip, train on; best so far; safety lost.

  stepguard train choose CHECKPOINT DIR --inside in-validation.jsonl \\
      --outside other-validation.jsonl --safe safe-validation.jsonl

A file whose name does not say validation is refused, so that nothing is chosen on a test set; so
are records and families that the run learned from, and outside its sources.
Needs the packages of: pip install 'stepguard[train,export]'
"""
_HELP = {
    "inside": "validation records of the sources that it learned from",
    "outside": "validation records of sources that it never saw",
    "safe": "validation records that are all safe",
}


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command below `stepguard train`."""
    parser = actions.add_parser("choose", help="which checkpoint", **formatted(_DESCRIPTION))
    parser.add_argument("checkpoint", type=Path, help="the base of the run")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the run's folder")
    for name, text in _HELP.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=text)
    parser.add_argument("--limit", type=int, metavar="N", help="at most N records of each file")
    add_base(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures, decides, prints."""
    with needs("train,export", "stepguard train choose"):
        from stepguard.train.checkpoint_rule import check_validation, decide
        from stepguard.train.lora.choice import Part, check_apart, measure_run
        from stepguard.train.lora.hold import hold
        from stepguard.train.lora.rows import Packer
        from stepguard.train.lora.scoring import Scorer, settings_of
    from stepguard.train.records import read_records

    files = [getattr(arguments, name) for name in _HELP]
    for file in files:
        check_validation(file.name)
    settings = settings_of(arguments.folder)
    records = [read_records([file], arguments.limit) for file in files]
    for name, file, part in zip(_HELP, files, records, strict=True):
        check_apart(arguments.folder, file.name, part, sources=name == "outside")
    base = open_from(arguments)
    packer = Packer(base.encoder, base.labels, base.fields, settings.context)
    inside, outside, safe = (
        Part(file.name, [packer.pack(one) for one in part])
        for file, part in zip(files, records, strict=True)
    )
    with (
        contextlib.closing(hold(arguments.folder)),
        progress_bar("measuring", "records") as bar,
    ):
        scorer = Scorer(base, settings, arguments.folder / "lower")
        curve = list(measure_run(scorer, arguments.folder, inside, outside, safe, bar))
    decision = decide(curve)
    if arguments.json:
        measured = [one.to_dict() for one in curve]
        print_json({"checkpoints": measured, **dataclasses.asdict(decision)})
        return 0
    table = Table(box=None, pad_edge=False)
    for name in ("step", "inside", "outside", "safe traffic that passes"):
        table.add_column(name, justify="right")
    for one in curve:
        values = map(_value, (one.inside, one.outside, one.passed))
        table.add_row(str(one.step), *values)
    out = console()
    out.print(table)
    out.print(f"{decision.answer}: {plain(decision.words)}.")
    out.print(f"If it ended here: step {decision.step}.")
    return 0


def _value(found: Any) -> str:
    return f"{found.value:.3f} (se {found.error:.3f})"
