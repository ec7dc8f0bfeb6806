"""stepguard bench quality: reads, judges beside cues, prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stepguard.bench.machine import Machine, describe_machine
from stepguard.bench.opened import opened
from stepguard.bench.outputs import write_json
from stepguard.bench.plot import check_plot
from stepguard.bench.quality.alarms import Alarms, count_alarms
from stepguard.bench.quality.choice import choose, name_of
from stepguard.bench.quality.cues import MAJORITY, judge_by_cues
from stepguard.bench.quality.evaluate import LEVELS, Row, evaluate
from stepguard.bench.quality.guards import fresh_names, judge_by_guard
from stepguard.bench.quality.layout import Judged, Layout, lay_out
from stepguard.bench.quality.plot import plot_quality
from stepguard.bench.quality.report import alarms_table, groups_table, judges_table, over_table
from stepguard.bench.report import machine_text, progress_bar
from stepguard.cli.show import console, plain
from stepguard.errors import TrajectoryError
from stepguard.train import Record, read_records
from stepguard.train.lora.learned import read_learned
from stepguard.train.points import Ints


def run(arguments: argparse.Namespace) -> int:
    """Judges and prints; the exit status is 0 whatever the quality is."""
    check_plot(arguments.plot)
    learned = None if arguments.learned is None else read_learned(arguments.learned).records
    records = read_records(arguments.data)
    chosen = np.array(choose(records, arguments.limit, arguments.split, arguments.source), np.int64)
    layout = lay_out([records[i] for i in chosen])
    guards, machine = _guards(arguments, layout)
    with progress_bar("cues") as progress:
        cues, missing = _cues(records, chosen, progress, learned)
    judges = [*guards, *cues]
    _check_read(layout, guards)
    with progress_bar("intervals") as progress:
        rows = evaluate(layout, judges, arguments.draws, arguments.seed, progress)
    alarms = count_alarms(layout, judges, arguments.draws, arguments.seed)
    _print(machine, layout, judges, missing, rows, alarms)
    if arguments.json is not None:
        report = _report(arguments, machine, layout, judges, missing, rows, alarms)
        write_json(arguments.json, report)
    if arguments.plot is not None:
        plot_quality(layout, judges, rows, arguments.plot)
    return 0


def _guards(arguments: argparse.Namespace, layout: Layout) -> tuple[list[Judged], Machine]:
    wanted = [(arguments.model, mode) for mode in arguments.mode or [None]]
    wanted += [(folder, None) for folder in arguments.beside]
    names = fresh_names([(folder.name or folder.resolve().name, mode) for folder, mode in wanted])
    options = {name: getattr(arguments, name) for name in ("isa", "threads", "kv", "activations")}
    found: list[Judged] = []
    machines: list[Machine] = []
    for (folder, mode), name in zip(wanted, names, strict=True):
        with opened(folder, mode=mode, **options) as model, progress_bar(name) as progress:
            machines.append(describe_machine(model.reader.engine))
            kept = arguments.scores
            found.append(judge_by_guard(model, name, layout, arguments.pool, kept, progress))
    return found, machines[0]


def _cues(
    records: Sequence[Record], chosen: Ints, progress: Any, learned: frozenset[str] | None
) -> tuple[list[Judged], dict[str, str]]:
    """Fitted with all records, given for the chosen ones."""
    whole = lay_out(records)
    found, missing = judge_by_cues(whole, chosen, progress, learned)
    actions = np.isin(whole.record, chosen)
    return [
        replace(
            judge,
            margins=judge.margins[actions],
            scores=judge.scores[actions],
            whole_margins=judge.whole_margins[chosen],
            whole_scores=judge.whole_scores[chosen],
        )
        for judge in found
    ], missing


def _check_read(layout: Layout, guards: Sequence[Judged]) -> None:
    for guard in guards:
        if not np.isfinite(guard.whole_margins).any():
            got = f"none of {len(layout.records)}; the first: {next(iter(guard.lost), 'no margin')}"
            raise TrajectoryError(guard.name, expected="records that the guard can read", got=got)


def _sources(layout: Layout) -> dict[str, dict[str, int]]:
    found = {}
    for i, source in enumerate(layout.sources):
        inside = layout.source == i
        found[source] = {
            "records": int(inside.sum()),
            "unsafe": int(layout.label[inside].sum()),
            "families": len(np.unique(layout.family[inside])),
        }
    return found


def _report(
    arguments: argparse.Namespace,
    machine: Machine,
    layout: Layout,
    judges: Sequence[Judged],
    missing: dict[str, str],
    rows: Sequence[Row],
    alarms: Sequence[Alarms],
) -> dict[str, Any]:
    split = None if arguments.split is None else name_of(arguments.split)
    names = ("limit", "seed", "draws", "pool")
    return {
        "benchmark": "quality",
        "machine": machine.to_dict(),
        "settings": {
            **{name: getattr(arguments, name) for name in names},
            "split": split,
            "only": list(arguments.source),
            "learned": None if arguments.learned is None else arguments.learned.name,
            "files": [file.name for file in arguments.data],
        },
        "sources": _sources(layout),
        "records": [record.sha256 for record in layout.records],
        "judges": [
            {
                "name": judge.name,
                "kind": judge.kind,
                "threshold": judge.threshold,
                "unread": len(judge.lost),
                **judge.facts,
            }
            for judge in judges
        ],
        "missing": missing,
        "groups": [row.to_dict() for row in rows],
        "alarms": [one.to_dict() for one in alarms],
    }


def _print(
    machine: Machine,
    layout: Layout,
    judges: Sequence[Judged],
    missing: dict[str, str],
    rows: Sequence[Row],
    alarms: Sequence[Alarms],
) -> None:
    guards = [judge for judge in judges if judge.kind == "guard"]
    cues = [judge.name for judge in judges if judge.kind == "cue" and judge.name != MAJORITY]
    out = console()
    out.print(machine_text(machine), soft_wrap=True)
    for source, counts in _sources(layout).items():
        text = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        out.print(f"{plain(source)}: {text}")
    for guard in guards:
        if guard.lost:
            text = f"{guard.name}: {len(guard.lost)} records not read to their end: {guard.lost[0]}"
            out.print(plain(text, 300), soft_wrap=True)
    for name, why in missing.items():
        out.print(plain(f"{name}: missing: {why}"), soft_wrap=True)
    for level in LEVELS[::-1]:
        if any(row.level == level for row in rows):
            out.print(judges_table(rows, level))
            for guard in guards:
                out.print(groups_table(rows, level, guard.name, cues))
                if level == "trajectory":
                    out.print(over_table(rows, guard.name))
    out.print(alarms_table(alarms))
