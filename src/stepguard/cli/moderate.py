"""stepguard moderate: a verdict for every action of a trajectory."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from stepguard.audit import AuditLog, Recorder
from stepguard.cli import report, stream
from stepguard.cli.load import add_model, add_settings, load_guard
from stepguard.cli.log import add_audit, open_log
from stepguard.cli.progress import progress_bar
from stepguard.cli.saved import UNTRAINED, exit_status, model_facts, to_object
from stepguard.cli.show import add_json, formatted, print_json
from stepguard.files import Named, read_trajectories
from stepguard.guard import Guard
from stepguard.prompt.answers import RATIONALE
from stepguard.taxonomy import Verdict

_DESCRIPTION = """\
Reads a trajectory and answers, for every action of the agent, whether it has become unsafe.

  stepguard moderate OUT trajectory.json          a table
  stepguard moderate OUT many.jsonl.gz --json     a trajectory a line; they share forward passes
  agent | stepguard moderate OUT -                steps as they come, a verdict a line, at once
  stepguard moderate OUT trajectory.json --diagnose
                                                  also what is wrong with unsafe actions

A trajectory is {"profile": TEXT, "contents": [STEP, ...]}; contents may also be a list of rounds.
A step is {"role": "user", "content": ...}, {"role": "agent", "thought": ..., "action": ...} or
{"role": "environment", "content": ...}. A stream is {"profile": TEXT}, then one step a line.
An action is an agent step with a non-empty action; without any there is one verdict at the end.
"""
_EPILOG = """\
exit status:
  0   everything is safe; else the first of these that occurs (what --larger says of an unsure
      action counts for it, if it is available):
  10  unsafe    12  unavailable    11  unsure
  1   the model or the trajectory cannot be read
  2   wrong usage

keys of --json:
  model         path, sha256, prompt, prompt_sha256, trained, isa, threads, kv,
                activations, calibrated, low, high (a score from low to high is unsure),
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
  neutralised   imitations of the template's delimiters so far; capped: text cut at the cap
  unreadable    parts of the steps so far that are no text (images ...) and were not read
  left_out      first and last index of runs of steps that no longer fit the context
  windows       how many windows were read; over 1 for a step longer than the context
  latency_ms    from the call to the answer
  mode, guard   how it was read, and hashes of model and prompt
  rationale     what the guard wrote, for people; null where it wrote nothing
  diagnosis     with --diagnose, of an unsafe verdict; else null. In a stream it is null too: a line
                of its own follows as soon as it is read, an object with the key diagnosis
  second        with --larger, of an unsure verdict: the larger guard's; else null. In a stream a
                line of its own follows, an object with the key second

  screened      with --screen, its verdicts (mode screen) on the tool results so far that it did not
                call safe

keys of a diagnosis:
  risk_source, failure_mode, real_world_harm
                every label's id and probability; empty where it was not read
  best          the likeliest label of each; written: what the guard would write, of labels only
  out_of_vocabulary   what the model gives, where the labels begin, to other text
  complete      false with a reason and a message, as of a verdict
  order, top    the order in which the guard answers; over how many answers it was averaged
  taxonomy      whose labels they are
  guard, step, coverage, left_out, windows, tokens_read, latency_ms: as of a verdict
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "moderate", help="judge a trajectory", epilog=_EPILOG, **formatted(_DESCRIPTION)
    )
    add_model(parser)
    parser.add_argument("trajectory", help=".json, .jsonl or .jsonl.gz, or - for a stream")
    add_json(parser)
    parser.add_argument(
        "--diagnose", action="store_true", help="tell of unsafe actions what is wrong with them"
    )
    parser.add_argument(
        "--diagnoser", metavar="DIR", help="another model directory, which does the --diagnose"
    )
    parser.add_argument(
        "--larger", metavar="DIR", help="another model directory, asked where OUT is unsure"
    )
    parser.add_argument(
        "--screen", metavar="DIR", help="the folder of a screen, which reads tool results first"
    )
    parser.add_argument(
        "--taxonomy",
        metavar="FILE",
        help="labels of --diagnose, if not all that OUT was exported with: a JSON file, or base, "
        "claw, codex or all",
    )
    add_settings(parser)
    parser.add_argument(
        "--escalate",
        choices=["rationale"],
        help="where a verdict is unsure or unsafe, let the guard write its answer out",
    )
    add_audit(parser)
    parser.add_argument("--isa", metavar="NAME", help="kernel table; `stepguard info` lists them")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judges a file or a stream."""
    streamed = arguments.trajectory == "-"
    found = [] if streamed else read_trajectories(arguments.trajectory)
    with open_log(arguments) as log, _guard(arguments) as guard:
        if streamed:
            if not guard.trained:
                print(UNTRAINED, file=sys.stderr)
            diagnose = arguments.diagnose
            return exit_status(stream.moderate(guard, sys.stdin.buffer, sys.stdout, diagnose, log))
        started = time.perf_counter()
        # Written answers are counted by trajectories: nobody knows how long they become.
        unit = "trajectories" if guard.mode == RATIONALE else "tokens"
        with progress_bar("reading", unit) as progress:
            verdicts = guard.moderate_many(
                [item.trajectory for item in found],
                progress=progress,
                diagnose=arguments.diagnose,
            )
        seconds = time.perf_counter() - started
        facts = {**model_facts(arguments.model, guard), "seconds": seconds}
        if log is not None:
            _write(log, found, verdicts)
    if arguments.json:
        print_json(to_object(facts, found, verdicts))
    elif len(found) == 1:
        report.print_one(facts, found[0].trajectory, verdicts[0])
    else:
        report.print_many(facts, found, verdicts)
    if not arguments.json:
        report.print_diagnoses(found, verdicts)
    return exit_status([verdict for one in verdicts for verdict in one])


def _guard(arguments: argparse.Namespace) -> Guard:
    return load_guard(
        arguments,
        isa=arguments.isa,
        taxonomy=arguments.taxonomy,
        diagnoser=arguments.diagnoser,
        larger=arguments.larger,
        escalate=arguments.escalate,
        screen=arguments.screen,
    )


def _write(log: AuditLog, found: Sequence[Named], verdicts: Sequence[Sequence[Verdict]]) -> None:
    """A line for every verdict; one at the end of a trajectory without actions has no step. Waits
    for what follows them, and raises AuditError where a line could not be written."""
    failed: list[Exception] = []
    recorder = Recorder(log, failed.append)
    for number, (item, one) in enumerate(zip(found, verdicts, strict=True), start=1):
        for verdict in one:
            step = None if verdict.step is None else item.trajectory.steps[verdict.step]
            recorder.verdict(item.name or f"line {number}", verdict, step=step)
    recorder.wait()
    if failed:
        raise failed[0]
