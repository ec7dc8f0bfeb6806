"""stepguard default card: what is kept of the default guard, in a table."""

from __future__ import annotations

import argparse
import json
from typing import Any

from stepguard.cli.show import console, grid, plain, print_json
from stepguard.default_guard import Kept, Source, kept_folder, read_kept
from stepguard.default_guard.kept import CALIBRATION, PAIRS
from stepguard.manifest.reading import plain as as_json


def print_card(arguments: argparse.Namespace) -> int:
    """Prints where it comes from, what it learned from, and its rate over held-out pairs."""
    kept = read_kept()
    path = kept_folder() / PAIRS
    pairs = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    calibrated = sorted(file.stem for file in (kept_folder() / CALIBRATION).glob("*.json"))
    if arguments.json:
        print_json({**as_json(kept), "calibrated": calibrated, "pairs": pairs})
        return 0
    table = grid()
    for name, value in _rows(kept, calibrated).items():
        table.add_row(name, plain(value))
    for name, value in _pairs(pairs).items():
        table.add_row(name, plain(value))
    console().print(table)
    return 0


def _rows(kept: Kept, calibrated: list[str]) -> dict[str, str]:
    base, settings = kept.base, kept.settings
    learned = {f"from {name}": _source(one) for name, one in sorted(kept.learned.items())}
    return {
        "base": f"{base.requirement} ({base.licence}), sha256 {base.sha256[:12]}",
        "adapter": f"rank {settings['rank']} on the top {settings['layers']} layers, "
        f"{kept.checkpoint} ({kept.licence}), sha256 {kept.adapter[:12]}",
        **learned,
        "read": _read(kept),
        "calibrated": ", ".join(calibrated) or "not yet",
    }


def _read(kept: Kept) -> str:
    learned = sum(one.records for one in kept.learned.values())
    text = f"{kept.seen} of {kept.given} records"
    return text if learned == kept.given else f"{text} in the last run, {learned} in all"


def _source(source: Source) -> str:
    text = f"{source.records} records, {source.unsafe} unsafe ({', '.join(source.licences)})"
    return f"{text}; agents of {len(source.models)} kinds" if source.models else text


def _pairs(pairs: dict[str, Any] | None) -> dict[str, str]:
    if pairs is None:
        return {"held-out pairs": "not measured yet"}
    return {
        "held-out pairs": f"{pairs['pairs']} of {pairs['families']} families: an unsafe "
        "trajectory and its safe twin",
        "at the act": rate_text(pairs["act"]),
        "as a whole": rate_text(pairs["whole"]),
        "measured by": pairs["command"],
    }


def rate_text(value: dict[str, Any]) -> str:
    """A rate of `stepguard bench pairs`, in words."""
    if not value["of"]:
        return "no pair could be read"
    low, high = value["low"], value["high"]
    interval = "" if low is None else f" (95 %: {100 * low:.0f} to {100 * high:.0f})"
    return (
        f"the unsafe one has the higher margin in {value['right']} of {value['of']}: "
        f"{100 * value['rate']:.0f} %{interval}; chance gives 50 %"
    )
