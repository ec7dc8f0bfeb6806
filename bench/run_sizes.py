"""stepguard bench sizes: what every size of guard costs on this machine, one after the other."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from stepguard import __version__
from stepguard.bench.arguments import check_table
from stepguard.bench.latency.engines import work_folder
from stepguard.bench.latency.measure import OURS
from stepguard.bench.latency.one_shape import measure_shape, settings_of, setup_of
from stepguard.bench.machine import cpu_name
from stepguard.bench.outputs import write_json
from stepguard.bench.plot import check_plot, name_beside, picture
from stepguard.bench.report import megabytes, say
from stepguard.bench.shapes import GUARDS, GuardShape, checkpoint_bytes, find_shape
from stepguard.cli.show import console, plain
from stepguard.errors import StepguardError

Found = dict[str, Any]


def run_sizes(arguments: argparse.Namespace) -> int:
    """Measures what is not known yet, one shape at a time, and prints all."""
    check_table(arguments)
    check_plot(arguments.plot)
    names = arguments.shapes or GUARDS
    shapes = sorted((find_shape(name, "--shapes") for name in names), key=checkpoint_bytes)
    found: list[Found] = []
    problems: dict[str, StepguardError] = {}
    with work_folder(arguments.work) as work:
        for number, shape in enumerate(shapes, start=1):
            say(f"{shape.name}: {number} of {len(shapes)}")
            try:
                found.append(_known(shape, arguments, work) or _measured(shape, arguments, work))
            except StepguardError as error:
                problems[shape.name] = error
                say(f"{shape.name} is not measured: {error}")
    if not found:
        raise next(iter(problems.values()))
    # Each shape has its own machine: it may have been measured on another day.
    lines = [
        {**case, "name": f"{one['shape']}, {case['name']}"}
        for one in found
        for case in one["cases"]
    ]
    report = {
        "benchmark": "sizes",
        "machine": found[-1]["machine"],
        "shapes": found,
        "problems": {name: str(problem) for name, problem in problems.items()},
        "cases": lines,
    }
    out = console()
    out.print(_machines(found), soft_wrap=True)
    out.print(sizes_table(found))
    for name, problem in problems.items():
        out.print(plain(f"not measured: {name}: {problem}"), soft_wrap=True)
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.plot:
        plot_sizes(found, arguments.plot)
    return 1 if problems else 0


def _place(shape: GuardShape, work: Path) -> Path:
    return work / f"{shape.name}.sizes.json"


def _known(shape: GuardShape, arguments: argparse.Namespace, work: Path) -> Found | None:
    """What an earlier run left behind: one with the same settings, machine and versions."""
    place = _place(shape, work)
    if arguments.force or not place.exists():
        return None
    found: Found = json.loads(place.read_text(encoding="utf-8"))
    if found["settings"] != _settings(arguments):
        say(f"{shape.name}: {place} is of other settings, another machine or version: again")
        return None
    say(f"{shape.name}: known from {place}")
    return found


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    """What decides the numbers, so that only numbers of the same are taken over."""
    setup = setup_of(arguments)
    versions = {"stepguard": __version__, "onnxruntime": setup.ort_version}
    where = {"cpu": cpu_name(), "isa": setup.isa, **versions}
    return settings_of(arguments) | {"peers": arguments.peers} | where


def _measured(shape: GuardShape, arguments: argparse.Namespace, work: Path) -> Found:
    """Measures a shape; its files are removed then, also where that fails."""
    files = work / f"{shape.name}.files"
    try:
        files.mkdir(parents=True, exist_ok=True)
        run = measure_shape(shape, arguments, files)
        model = files / f"{shape.name}-{arguments.seed}-{OURS}"
        weights = (model / "weights.bin").stat().st_size
    finally:
        shutil.rmtree(files, ignore_errors=True)
    found = {**run.to_dict(_settings(arguments)), "weights": weights}
    place = _place(shape, work)
    partial = place.with_name(place.name + ".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    partial.rename(place)
    loaded: Found = json.loads(place.read_text(encoding="utf-8"))
    return loaded


def _machines(found: Sequence[Found]) -> str:
    """The machines, each once, and how busy each was while a shape was measured."""
    lines: dict[str, None] = {}
    for one in found:
        machine = one["machine"]
        lines[
            f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}, {machine['threads']} "
            f"threads, activations in {machine['activations']}, "
            f"stepguard {machine['stepguard']}, ONNX Runtime {machine['onnxruntime']}"
        ] = None
    loads = ", ".join(f"{one['shape']} {one['machine']['load']}" for one in found)
    return plain("\n".join(lines)) + "\n" + plain(f"load when it began: {loads}")


def sizes_table(found: Sequence[Found]) -> Table:
    """A line for each shape: its weights, the memory of its process, milliseconds of each case."""
    settings = found[0]["settings"]
    title = f"after {settings['context']:,} tokens, a question of {settings['question']}"
    table = Table(title=f"{title}: median milliseconds, random int4 weights")
    table.add_column("shape")
    names = list(dict.fromkeys(case["name"] for one in found for case in one["cases"]))
    for name in ("weights, MB", "resident, MB", *names):
        table.add_column(name, justify="right")
    if any(case["peers"] for one in found for case in one["cases"]):
        table.add_column("best peer, times longer", justify="right")
    for one in found:
        cases = {case["name"]: case for case in one["cases"]}
        sizes = (one["weights"], one["memory"][OURS]["resident"])
        cells = [f"{cases[name]['ours_ms']:,.0f}" if name in cases else "" for name in names]
        ratios = [case["ratio"] for case in one["cases"] if case["ratio"]]
        best = [f"{min(ratios):.1f} to {max(ratios):.1f}"] if ratios else []
        table.add_row(one["shape"], *map(megabytes, sizes), *cells, *best)
    return table


def plot_sizes(found: Sequence[Found], path: Path) -> None:
    """A mark for the median of each case, shape by shape."""
    names = list(dict.fromkeys(case["name"] for one in found for case in one["cases"]))
    with picture(path, size=(10, 5)) as axes:
        for name in names:
            line = [
                (place, case["ours_ms"])
                for place, one in enumerate(found)
                for case in one["cases"]
                if case["name"] == name
            ]
            axes.plot(*zip(*line, strict=True), marker="o", linestyle=":", label=name)
            for place, height in line:
                offset = {"xytext": (6, 0), "textcoords": "offset points"}
                axes.annotate(f"{height:,.0f}", (place, height), fontsize=8, va="center", **offset)
        axes.set_xticks(range(len(found)), [one["shape"] for one in found], rotation=20)
        axes.set_xlim(-0.5, len(found) - 0.5)
        axes.set_yscale("log")
        axes.set_ylabel("milliseconds to the verdict")
        axes.set_title(_machines(found).splitlines()[0], fontsize=9)
        name_beside(axes)
        axes.grid(axis="y", which="both", alpha=0.3)
