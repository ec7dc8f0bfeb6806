"""stepguard train trace: which training records do harm to an adapter."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from stepguard.cli.arguments import count, output_file, seed, threads
from stepguard.cli.progress import progress_bar
from stepguard.cli.show import add_json, console, formatted, plain, print_json
from stepguard.cli.train_lora import add_base, open_from
from stepguard.extras import needs

_DESCRIPTION = """\
Ranks labelled trajectories by what they do to an adapter itself, where `train purify` lets a head
stand for the guard: the preference score of PRISM with the gradients of all its matrices. A record
whose gradient pulls right verdicts on the targets down comes first. It costs a forward and a
backward pass a record, as one epoch of training does.

  stepguard train trace CHECKPOINT RUN/step-000300 data.jsonl --target clean.jsonl
  stepguard train trace CHECKPOINT RUN/step-000300 data.jsonl --target clean.jsonl --plant 0.1

--plant turns the labels of a share of the records first, and says how many of them come first, by
preference and by loss: what such a ranking is worth on these data. An adapter that learned the
right labels is surprised by wrong ones, so there plain loss may find more of them.
Needs the packages of: pip install 'stepguard[train,export]'
"""


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command below `stepguard train`."""
    parser = actions.add_parser("trace", help="harm to an adapter", **formatted(_DESCRIPTION))
    parser.add_argument("checkpoint", type=Path, help="the base of the run")
    parser.add_argument("adapter", type=Path, metavar="STEP", help="RUN/step-..., its checkpoint")
    parser.add_argument("data", nargs="+", type=Path, help=".jsonl or .jsonl.gz files")
    text = "records whose verdicts count; none of their families is ranked"
    parser.add_argument("--target", nargs="+", type=Path, required=True, metavar="FILE", help=text)
    text = "turn the labels of this share of the records first"
    parser.add_argument("--plant", type=float, metavar="SHARE", help=text)
    parser.add_argument("--seed", type=seed, default=0, help="of --plant (%(default)s)")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N records of each file")
    parser.add_argument(
        "--out", type=output_file, metavar="FILE", help="the whole list, a line a record"
    )
    parser.add_argument("--top", type=count, default=20, metavar="N", help="to print (%(default)s)")
    text = "keep what was found there: a run that was cut off goes on"
    parser.add_argument("--scores", type=output_file, metavar="FILE", help=text)
    parser.add_argument("--threads", type=threads, metavar="N", help="cores to use (default: all)")
    add_base(parser)
    add_json(parser)
    parser.set_defaults(run=run, usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Reads, traces, prints and writes."""
    with needs("train,export", "stepguard train trace"):
        import torch

        from stepguard.train.influence.trace import measure_planted, trace_records, turn_labels
        from stepguard.train.lora.scoring import settings_of
    from stepguard.train.influence.purify import check_apart
    from stepguard.train.records import read_records

    if arguments.out is not None and arguments.out == arguments.scores:
        arguments.usage("--out and --scores are the same file")
    settings = settings_of(arguments.adapter.parent)
    records = read_records(arguments.data, arguments.limit)
    targets = read_records(arguments.target, arguments.limit)
    check_apart(records, targets)
    turned: frozenset[str] = frozenset()
    if arguments.plant is not None:
        records, turned = turn_labels(records, arguments.plant, arguments.seed)
    cores = arguments.threads or torch.get_num_threads()
    torch.set_num_threads(cores)
    beside = cores if settings.precision == "bf16" else 1
    base = open_from(arguments)
    with progress_bar("tracing", "records") as bar:
        ranked = trace_records(
            base, arguments.adapter, records, targets, beside, arguments.scores, bar
        )
    values = [{**one, "turned": one["sha256"] in turned} for one in ranked]
    if arguments.out is not None:
        text = "".join(json.dumps(value) + "\n" for value in values)
        arguments.out.write_text(text, encoding="utf-8")
    planted = measure_planted(ranked, turned) if turned else None
    if arguments.json:
        counts = {"records": len(records), "targets": len(targets), "turned": len(turned)}
        print_json({**counts, "planted": planted, "ranked": values})
    else:
        _print(values[: arguments.top], arguments, f"{len(values)} of {len(records)}")
        _print_planted(planted, len(turned), len(values))
    return 0


def _print(values: list[dict[str, Any]], arguments: argparse.Namespace, shown: str) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("rank", "record", "source", "label", "preference", "loss"):
        table.add_column(name, justify="left" if name in ("record", "source") else "right")
    for value in values:
        label = ("unsafe" if value["label"] else "safe") + (" (turned)" if value["turned"] else "")
        harms = [f"{harm:.4g}" for harm in value["harms"].values()]
        row = (plain(value["name"], 48), plain(value["source"]), label, *harms)
        table.add_row(str(value["rank"]), *row)
    out = console()
    out.print(table)
    where = f", all of them in {plain(str(arguments.out))}" if arguments.out else ""
    out.print(f"{shown} records{where}; the most harmful first.")


def _print_planted(planted: dict[str, dict[str, float]] | None, turned: int, ranked: int) -> None:
    for name, found in (planted or {}).items():
        console().print(
            f"{name}: {found['precision']:.2f} of the {turned} worst are turned "
            f"(chance {turned / ranked:.2f}), AUROC {found['auroc']:.3f}"
        )
