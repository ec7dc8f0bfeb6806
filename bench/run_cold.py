"""stepguard bench cold: how long a host waits for the first verdict after its start."""

from __future__ import annotations

import argparse
import bisect
import json
from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from stepguard.bench.arguments import check_length, check_table
from stepguard.bench.cold import ALL_PARTS, INTERPRETER, Cold, measure_cold
from stepguard.bench.cold_probe import PARTS
from stepguard.bench.latency.engines import work_folder
from stepguard.bench.machine import Machine, describe_machine, load_now
from stepguard.bench.outputs import write_json
from stepguard.bench.plot import check_plot, describe, picture, stacked_bars
from stepguard.bench.report import machine_text, progress_bar, say
from stepguard.bench.samples import made_samples
from stepguard.bench.shapes import find_shape, make_model
from stepguard.cli.show import console
from stepguard.export import progress_bar as export_bar
from stepguard.manifest import load
from stepguard.prompt import Encoder, Prompt, Step, load_tokenizer

_TOKENS_OF_A_SAMPLE = 300  # rarely fewer


def run_cold(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    if (arguments.shape is None) == (arguments.model is None):
        arguments.usage("give a MODEL, or --shape NAME")
    check_table(arguments)
    check_plot(arguments.plot)
    if arguments.shape:
        shape = find_shape(arguments.shape)
        check_length(shape.name, arguments.new, shape.shape.context)
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
        "settings": {
            "new": arguments.new,
            "read": cold.later[0].tokens,
            "runs": arguments.runs,
            "disk": arguments.from_disk,
        },
        "cases": [case | {"peers": {}, "best_peer": None, "ratio": None} | cold.to_dict()],
    }
    console().print(machine_text(machine), soft_wrap=True)
    console().print(cold_table(cold))
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.plot:
        plot_cold(cold, machine, arguments.shape or model.name, arguments.plot)
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
    """Content of a step of the environment that adds about so many tokens, and no fewer.

    Raises:
        StepguardError: the model's context has no room for it behind the prompt, and for its
            question.
    """
    manifest = load(model)
    tokenizer = load_tokenizer(model / "tokenizer.json")
    encoder = Encoder(Prompt.from_manifest(manifest.prompt), tokenizer)
    begin = encoder.begin("")
    most = manifest.architecture.context
    check_length(model.name, tokens, most)
    samples = made_samples(tokens // _TOKENS_OF_A_SAMPLE + 1)
    words = " ".join(json.dumps(dict(sample.value)) for sample in samples).split(" ")

    def size(count: int) -> int:
        return len(encoder.extend(begin.border, Step.environment(" ".join(words[:count]))).ids)

    chosen = bisect.bisect_left(range(len(words)), tokens, key=size)
    text = " ".join(words[:chosen])
    step = encoder.extend(begin.border, Step.environment(text))
    parts = (encoder.prefix_ids, begin.ids, step.ids, encoder.question(step.border))
    check_length(model.name, sum(map(len, parts)), most)
    return text


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


def plot_cold(cold: Cold, machine: Machine, title: str, file: Path) -> None:
    """The parts of the first start and of later ones (medians), on end, and their CPU time."""
    cpu = {part: cold.cpu_median(part) for part in PARTS}
    bars = ["first start", "later: median", "of it CPU time"]
    parts = {
        part: [cold.first.ms[part], cold.median(part), cpu.get(part, 0.0)] for part in ALL_PARTS
    }
    with picture(file, size=(10, 4)) as axes:
        stacked_bars(axes, bars, parts)
        axes.set_xlabel("milliseconds from the start of the process to its first verdict")
        describe(axes, f"{title}, {cold.later[0].tokens} tokens read", machine)


def _spread(cold: Cold, part: str) -> str:
    low, high = cold.spread(part)
    return f"{cold.median(part):,.0f} ({low:,.0f} to {high:,.0f})"
