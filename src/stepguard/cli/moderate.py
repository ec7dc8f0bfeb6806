"""stepguard moderate: a verdict for every action of a trajectory."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stepguard.cli import report, stream
from stepguard.cli.files import Named, read_trajectories
from stepguard.cli.show import add_json, formatted, model_facts, print_json
from stepguard.guard import Guard
from stepguard.taxonomy import Status, Verdict

# The first of these that occurs is the exit status.
_STATUSES = {Status.UNSAFE: 10, Status.UNAVAILABLE: 12, Status.UNSURE: 11}

_DESCRIPTION = """\
Reads a trajectory and answers, for every action of the agent, whether it has become unsafe.

  stepguard moderate OUT trajectory.json          a table
  stepguard moderate OUT many.jsonl.gz --json     a trajectory a line; they share forward passes
  agent | stepguard moderate OUT -                steps as they come, a verdict a line, at once

A trajectory is {"profile": TEXT, "contents": [STEP, ...]}; contents may also be a list of rounds.
A step is {"role": "user", "content": ...}, {"role": "agent", "thought": ..., "action": ...} or
{"role": "environment", "content": ...}. A stream is {"profile": TEXT}, then one step a line.
An action is an agent step with a non-empty action; without any there is one verdict at the end.
"""
_EPILOG = """\
exit status:
  0   everything is safe; else the first of these that occurs:
  10  unsafe    12  unavailable    11  unsure
  1   the model or the trajectory cannot be read
  2   wrong usage

keys of --json:
  model         path, sha256, prompt, prompt_sha256, trained, isa, threads, kv,
                seconds (without loading)
  trajectories  a list of objects: id (or null), verdicts
  status        of the whole: the one that gave the exit status
  exit_status   as above
  note          what a reader should know, or null

keys of a verdict (also of a line of a stream):
  allowed       true only for safe
  status        safe, unsafe, unsure, unavailable
  reason        why unavailable, else null; message: the same in words
  step          index of the step in the trajectory, rounds joined
  margin        logit of unsafe minus logit of safe
  score         0 to 1, higher is less safe; calibrated: whether it is a probability
  coverage      share of the trajectory that was read
  tokens_read   since the verdict before, the question included
  neutralised   imitations of the template's delimiters so far; capped: steps cut at the cap
  unreadable    parts of the steps so far that are no text (images ...) and were not read
  left_out      first and last index of runs of steps that no longer fit the context
  latency_ms    from the call to the answer
  mode, guard   how it was read, and hashes of model and prompt
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "moderate", help="judge a trajectory", epilog=_EPILOG, **formatted(_DESCRIPTION)
    )
    parser.add_argument("model", metavar="OUT", help="a model directory")
    parser.add_argument("trajectory", help=".json, .jsonl or .jsonl.gz, or - for a stream")
    add_json(parser)
    parser.add_argument("--kv", choices=["fp16", "fp32"], help="type of the KV pages")
    parser.add_argument("--threads", type=_threads, metavar="N", help="threads of a forward pass")
    parser.add_argument("--isa", metavar="NAME", help="kernel table; `stepguard info` lists them")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judges a file or a stream."""
    streamed = arguments.trajectory == "-"
    found = [] if streamed else read_trajectories(arguments.trajectory)
    options = {"kv": arguments.kv, "threads": arguments.threads, "isa": arguments.isa}
    with Guard.load(arguments.model, **options) as guard:
        if streamed:
            if not guard.trained:
                print(report.UNTRAINED, file=sys.stderr)
            return exit_status(stream.moderate(guard, sys.stdin.buffer, sys.stdout))
        started = time.perf_counter()
        with _bar() as progress:
            verdicts = guard.moderate_many([item.trajectory for item in found], progress=progress)
        seconds = time.perf_counter() - started
        facts = {**model_facts(arguments.model, guard), "seconds": seconds}
    if arguments.json:
        print_json(_object(facts, found, verdicts))
    elif len(found) == 1:
        report.print_one(facts, found[0].trajectory, verdicts[0])
    else:
        report.print_many(facts, found, verdicts)
    return exit_status([verdict for one in verdicts for verdict in one])


def worst(verdicts: list[Verdict]) -> Status:
    """The status that decides: unsafe before unavailable before unsure before safe."""
    there = {verdict.status for verdict in verdicts}
    return next((status for status in _STATUSES if status in there), Status.SAFE)


def exit_status(verdicts: list[Verdict]) -> int:
    """The exit status of the command."""
    return _STATUSES.get(worst(verdicts), 0)


def _object(
    facts: dict[str, Any], found: list[Named], verdicts: list[list[Verdict]]
) -> dict[str, Any]:
    every = [verdict for one in verdicts for verdict in one]
    return {
        "model": facts,
        "trajectories": [
            {"id": item.name, "verdicts": [verdict.to_dict() for verdict in one]}
            for item, one in zip(found, verdicts, strict=True)
        ],
        "status": worst(every),
        "exit_status": exit_status(every),
        "note": None if facts["trained"] else report.UNTRAINED,
    }


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr that appears when reading takes long; None without a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TextColumn("tokens"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _threads(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"expected 1 to 1024, got {value}")
    return value
