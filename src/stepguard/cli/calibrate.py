"""stepguard calibrate: thresholds with a promise, from labelled trajectories."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from stepguard.cli.arguments import count
from stepguard.cli.load import add_model, add_settings, load_guard
from stepguard.cli.progress import progress_bar
from stepguard.cli.show import add_json, console, formatted, grid, plain, print_json
from stepguard.extras import needs

_DESCRIPTION = """\
Turns margins into probabilities, and sets the thresholds of safe and unsafe so that a rate of
errors is kept. Reads labelled trajectories, scores every action, and writes the result into
manifest.json of the model directory.

  stepguard calibrate OUT data.jsonl.gz --target-fnr 0.05
  stepguard calibrate OUT a.jsonl b.jsonl --target-fpr 0.01 --rule conformal --plot r.png

A record is {"profile", "contents", "label": 0 or 1, "first_unsafe_step": index or null, "source",
"meta": {"family"}}. A prefix is unsafe from the first unsafe step on. Families are what must not
be split between fitting and judging, like all runs of one task; they are the unit of every promise.

--target-fnr  at most that share of unsafe trajectories is missed: no action called unsafe or unsure
--target-fpr  at most that share of safe trajectories has an action that is called unsafe

The promise holds for data like these, for this model with this prompt, mode, KV type and
activations. With other settings the verdicts are uncalibrated, and say so.
Needs the packages of: pip install 'stepguard[train]'
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser("calibrate", help="scores to promises", **formatted(_DESCRIPTION))
    add_model(parser)
    parser.add_argument("data", nargs="+", type=Path, help=".jsonl or .jsonl.gz files")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--target-fnr", type=_share, metavar="P", help="of missed trajectories")
    target.add_argument("--target-fpr", type=_share, metavar="P", help="of false alarms")
    rules = ["fixed-sequence", "conformal"]
    text = "fixed-sequence keeps the rate with a probability of 1 - delta, conformal its mean"
    parser.add_argument("--rule", choices=rules, default=rules[0], help=text)
    parser.add_argument("--delta", type=_share, default=0.1, metavar="P", help="(%(default)s)")
    methods = ["temperature", "platt", "isotonic"]
    text = "of the map; by default the one with the least out-of-fold log loss"
    parser.add_argument("--method", choices=methods, help=text)
    parser.add_argument("--limit", type=count, metavar="N", help="at most N records of each file")
    text = "keep the scores there: a run that was cut off goes on"
    parser.add_argument("--scores", type=Path, metavar="FILE", help=text)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a reliability diagram")
    parser.add_argument("--dry-run", action="store_true", help="print, but change nothing")
    add_settings(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Scores, fits, prints, and writes the manifest."""
    with needs("train", "stepguard calibrate"):
        from stepguard.train.attach import attach
        from stepguard.train.calibrate import Target, calibrate, entry
        from stepguard.train.plot import plot_reliability
        from stepguard.train.records import read_records
        from stepguard.train.scores import guard_key, score_records
    rate: Any = "fpr" if arguments.target_fnr is None else "fnr"
    share = arguments.target_fpr if arguments.target_fnr is None else arguments.target_fnr
    target = Target(rate, share, arguments.rule, arguments.delta)
    records = read_records(arguments.data, arguments.limit)
    with load_guard(arguments) as guard:
        key = guard_key(guard)
        with progress_bar("scoring", "records") as bar:
            scored = score_records(guard, records, arguments.scores, bar)
    fitted, report = calibrate(records, scored, target, arguments.method)
    if arguments.plot is not None:
        plot_reliability(report, arguments.plot)
    if not arguments.dry_run:
        attach(Path(arguments.model), entry(fitted, report, key, records))
    if arguments.json:
        print_json({"guard": key, "written": not arguments.dry_run, **report.to_dict()})
    else:
        _print(report, key, written=not arguments.dry_run)
    return 0


def _print(report: Any, key: dict[str, str], *, written: bool) -> None:
    target, found = report.target, report.threshold
    what = "missed trajectories" if target.rate == "fnr" else "false alarms"
    sure = target.rule != "conformal"
    held = f"with a probability of {1 - target.delta:g}" if sure else "in the mean"
    table = grid()
    rows = {
        "data": f"{report.records} records of {report.families} families, {report.points} labelled "
        f"prefixes; {report.unread} records not read to their end",
        "guard": ", ".join(f"{name} {value[:12]}" for name, value in key.items()),
        "map": f"{report.method}; out-of-fold log loss "
        + ", ".join(f"{name} {loss:.4f}" for name, loss in report.losses.items()),
        "before": _quality(report.before),
        "after": _quality(report.after),
        "promise": f"{what} at most {target.target:g} {held} ({target.rule}, {found.families} "
        f"families; here {found.rate:.4f})",
        "thresholds": f"safe below {report.low:.4f}, unsafe from {report.high:.4f}",
        "not safe": _rates(report.not_safe),
        "unsafe": _rates(report.unsafe),
        "manifest": "written" if written else "not changed (--dry-run)",
    }
    for name, value in rows.items():
        table.add_row(name, plain(value))
    out = console()
    out.print(table)
    out.print("Holds for data like these only.")


def _quality(value: Any) -> str:
    return f"ECE {value.ece:.4f}, Brier {value.brier:.4f}, log loss {value.log_loss:.4f}"


def _rates(value: Any) -> str:
    return (
        f"misses {_percent(value.missed)} of unsafe trajectories, stops "
        f"{_percent(value.false_alarms)} of safe ones, and "
        f"{value.per_100_actions:.2f} of 100 safe actions"
    )


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return value
