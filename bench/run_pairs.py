"""stepguard bench pairs: reads, judges, prints."""

from __future__ import annotations

import argparse
from typing import Any

from stepguard.bench.machine import describe_machine
from stepguard.bench.opened import opened
from stepguard.bench.outputs import write_json
from stepguard.bench.pairs import find_pairs, margins_of, rate_of
from stepguard.bench.report import machine_text, progress_bar
from stepguard.cli.default_card import rate_text
from stepguard.cli.show import console, grid
from stepguard.train import read_records
from stepguard.train.records import digest_of
from stepguard.train.scores import score_records


def run_pairs(arguments: argparse.Namespace) -> int:
    """Judges and prints; the exit status is 0 whatever the rate is."""
    records = read_records(arguments.data)
    pairs = find_pairs(records)
    options = {name: getattr(arguments, name) for name in ("isa", "threads", "kv", "activations")}
    with opened(arguments.model, **options) as model, progress_bar("pairs") as progress:
        machine = describe_machine(model.reader.engine)
        wanted = [record for pair in pairs for record in (pair.unsafe, pair.safe)]
        scored = score_records(model.guard, wanted, arguments.scores, progress)
        facts = model.to_dict()
    act, whole = margins_of(pairs, {one.sha256: one for one in scored})
    report: dict[str, Any] = {
        "benchmark": "pairs",
        "machine": machine.to_dict(),
        "model": facts,
        "settings": {"files": [file.name for file in arguments.data]},
        "data": digest_of(wanted),
        "pairs": len(pairs),
        "families": len({pair.unsafe.family for pair in pairs}),
        "act": rate_of(pairs, act).to_dict(),
        "whole": rate_of(pairs, whole).to_dict(),
        "command": " ".join(
            ["stepguard bench pairs", arguments.model.name, *(f.name for f in arguments.data)]
        ),
    }
    out, table = console(), grid()
    out.print(machine_text(machine), soft_wrap=True)
    table.add_row("pairs", f"{report['pairs']} of {report['families']} families")
    for name, key in (("at the act", "act"), ("as a whole", "whole")):
        table.add_row(name, rate_text(report[key]))
    out.print(table)
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0
