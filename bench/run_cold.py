"""stepguard bench cold: how long a host waits for the first verdict after its start."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from stepguard.bench.cold import ALL_PARTS, INTERPRETER, Cold, measure_cold
from stepguard.bench.latency.engines import work_folder
from stepguard.bench.machine import describe_machine, load_now
from stepguard.bench.report import machine_text, progress_bar, say
from stepguard.bench.samples import made_samples
from stepguard.bench.shapes import find_shape, make_model
from stepguard.cli.show import console
from stepguard.export import progress_bar as export_bar
from stepguard.manifest import load
from stepguard.prompt import Encoder, Prompt, Step, load_tokenizer


def run_cold(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    if (arguments.shape is None) == (arguments.model is None):
        arguments.usage("give a MODEL, or --shape NAME")
    load_before = load_now()
    with ExitStack() as stack:
        model = arguments.model or _made(
            stack.enter_context(work_folder(arguments.work)), arguments
        )
        text = step_text(model, arguments.new)
        with progress_bar(f"{model.name}: fresh processes") as progress:
            cold = measure_cold(
                model,
                text,
                runs=arguments.runs,
                options={"threads": arguments.threads, "isa": arguments.isa},
                from_disk=arguments.from_disk,
                progress=progress,
            )
    machine = describe_machine(cold.setup, load_before)
    case = {"name": "process start to first verdict", "ours_ms": cold.median("")}
    report = {
        "benchmark": "cold",
        "machine": machine.to_dict(),
        "model": arguments.shape or model.name,
        "settings": {"new": arguments.new, "runs": arguments.runs, "disk": arguments.from_disk},
        "cases": [case | {"peers": {}, "best_peer": None, "ratio": None} | cold.to_dict()],
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console().print(machine_text(machine), soft_wrap=True)
    console().print(cold_table(cold))
    return 0


def _made(work: Path, arguments: argparse.Namespace) -> Path:
    out = work / f"{arguments.shape}-cold"
    if not (out / "manifest.json").exists():
        shape = find_shape(arguments.shape)
        say(f"{shape.name}: making a random int4 model")
        with export_bar() as report:
            make_model(shape, out, progress=report, overwrite=True)
    return out


def step_text(model: Path, tokens: int) -> str:
    """Content of a step of the environment that adds about so many tokens."""
    manifest = load(model)
    tokenizer = load_tokenizer(model / "tokenizer.json")
    encoder = Encoder(Prompt.from_manifest(manifest.prompt), tokenizer)
    start = encoder.begin("").border
    (sample,) = made_samples(1)
    words = json.dumps(dict(sample.value)).split(" ")
    chosen = 0
    while chosen < len(words):
        chosen += 1
        step = Step.environment(" ".join(words[:chosen]))
        if len(encoder.extend(start, step).ids) >= tokens:
            break
    return " ".join(words[:chosen])


def cold_table(cold: Cold) -> Table:
    """Every part: the first start of a new model, the median and spread of later ones, CPU time."""
    tokens = cold.later[0].tokens
    table = Table(title=f"process start to first verdict ({tokens} tokens read), milliseconds")
    table.add_column("part")
    for name in ("first start", "later: median (range)", "of it CPU time"):
        table.add_column(name, justify="right")
    for part in ALL_PARTS:
        cpu = "" if part == INTERPRETER else f"{cold.cpu_median(part):,.0f}"
        table.add_row(part, f"{cold.first.ms[part]:,.0f}", _spread(cold, part), cpu)
    table.add_section()
    whole = ("all", f"{cold.first.total:,.0f}", _spread(cold, ""), f"{cold.cpu_median(''):,.0f}")
    table.add_row(*whole)
    return table


def _spread(cold: Cold, part: str) -> str:
    low, high = cold.spread(part)
    return f"{cold.median(part):,.0f} ({low:,.0f} to {high:,.0f})"
