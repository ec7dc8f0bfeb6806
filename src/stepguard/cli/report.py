"""Verdicts for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from stepguard.cli.saved import UNTRAINED
from stepguard.cli.show import console, plain, status_text
from stepguard.files import Named
from stepguard.prompt import Step, Trajectory
from stepguard.taxonomy import Verdict

_WORDS = ("dimension", "label")


def print_one(facts: dict[str, Any], trajectory: Trajectory, verdicts: Sequence[Verdict]) -> None:
    """A line per step, with the verdict where there is one."""
    by_step = {verdict.step: verdict for verdict in verdicts}
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("#", no_wrap=True, style="dim", min_width=len(str(len(trajectory.steps))))
    table.add_column("role", no_wrap=True, style="dim", min_width=len("environment"))
    table.add_column("step", no_wrap=True, overflow="ellipsis", ratio=1)
    _add_verdict_columns(table, verdicts)
    for index, step in enumerate(trajectory.steps):
        verdict = by_step.get(index)
        summary = Text(plain(_summary(step), 200))
        table.add_row(str(index), step.role, summary, *([] if verdict is None else _cells(verdict)))
    out = console()
    out.print(table)
    _print_end(facts, [verdicts])


def print_many(
    facts: dict[str, Any], found: Sequence[Named], verdicts: Sequence[Sequence[Verdict]]
) -> None:
    """A line per trajectory: its first verdict that is not safe, else its last."""
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("trajectory", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("verdicts", "step"):
        table.add_column(name, no_wrap=True, justify="right", min_width=len(name))
    _add_verdict_columns(table, [verdict for one in verdicts for verdict in one])
    for number, (item, one) in enumerate(zip(found, verdicts, strict=True), start=1):
        shown = next((verdict for verdict in one if not verdict.allowed), one[-1])
        label = Text(plain(item.name or f"line {number}", 80))
        table.add_row(label, str(len(one)), str(shown.step), *_cells(shown))
    console().print(table)
    _print_end(facts, verdicts)


def print_diagnoses(found: Sequence[Named], verdicts: Sequence[Sequence[Verdict]]) -> None:
    """The likeliest label of every dimension, for every verdict with a diagnosis."""
    table = Table(box=None, pad_edge=False)
    for name in ("step", "dimension", "label", "share", "other text"):
        table.add_column(name, overflow="fold", justify="left" if name in _WORDS else "right")
    for number, (item, one) in enumerate(zip(found, verdicts, strict=True), start=1):
        for diagnosis in (v.diagnosis.result() for v in one if v.diagnosis is not None):
            name = "" if len(found) == 1 else f"{plain(item.name or f'line {number}', 80)}: "
            for dimension, label in diagnosis.best.items():
                share = f"{diagnosis.of(dimension)[label]:.3f}"
                beside = f"{diagnosis.out_of_vocabulary[dimension]:.3f}"
                table.add_row(f"{name}{diagnosis.step}", dimension, plain(label), share, beside)
            if diagnosis.reason is not None:
                why = plain(f"{diagnosis.reason}: {diagnosis.message}", 200)
                table.add_row(f"{name}{diagnosis.step}", "unavailable", why)
    if table.row_count:
        console().print()
        console().print(table)


def _add_verdict_columns(table: Table, verdicts: Sequence[Verdict]) -> None:
    # The column with a ratio takes all that is left, so the others have to ask for their width.
    rows = [_cells(verdict) for verdict in verdicts]
    for index, name in enumerate(("verdict", "score", "margin", "tokens")):
        width = max([len(name), *(row[index].cell_len for row in rows)])
        table.add_column(name, no_wrap=True, justify="right", min_width=width)


def _cells(verdict: Verdict) -> list[Text]:
    status = status_text(verdict.status)
    if verdict.reason is not None:
        status = Text.assemble(status, f" ({verdict.reason})")
    if verdict.second is not None:
        larger = verdict.second.result()
        status = Text.assemble(
            status, " (larger: ", status_text(larger.reason or larger.status), ")"
        )
    numbers = [
        "-" if verdict.score is None else f"{verdict.score:.3f}",
        "-" if verdict.margin is None else f"{verdict.margin:+.3f}",
        str(verdict.tokens_read),
    ]
    return [status, *map(Text, numbers)]


def _summary(step: Step) -> str:
    """The step in a line: its action where it has one, else what it says."""
    texts = {key: value.json for key, value in step.fields}
    chosen = texts.get("action", "").strip() or " ".join(texts.values())
    return " ".join(chosen.split())


def _print_end(facts: dict[str, Any], verdicts: Sequence[Sequence[Verdict]]) -> None:
    every = [verdict for one in verdicts for verdict in one]
    tokens = sum(verdict.tokens_read for verdict in every)
    out = console()
    out.print()
    out.print(
        f"{plain(facts['path'])} ({facts['isa']}, {facts['threads']} threads, KV {facts['kv']}, "
        f"activations {facts['activations']}): "
        f"{len(every)} verdicts, {tokens} tokens, {facts['seconds']:.2f} s",
        style="dim",
    )
    for text in sorted({verdict.message for verdict in every if verdict.message}):
        out.print(f"unavailable: {plain(text)}", style="magenta")
    flagged = {
        (index, one.step) for index, row in enumerate(verdicts) for v in row for one in v.screened
    }
    if flagged:
        out.print(f"{len(flagged)} tool results were not safe to the screen.", style="yellow")
    if neutralised := sum(one[-1].neutralised for one in verdicts):
        out.print(f"{neutralised} imitations of the template's delimiters were neutralised.")
    if not facts["trained"]:
        out.print(UNTRAINED, style="yellow")
