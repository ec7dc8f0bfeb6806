"""stepguard policy: checks a policy file, and shows what it makes of a trajectory."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from stepguard.audit import Recorder
from stepguard.cli.load import add_model, add_settings, load_guard
from stepguard.cli.log import add_audit, open_log
from stepguard.cli.show import add_json, console, formatted, plain, print_json, status_text
from stepguard.files import read_values
from stepguard.messages import Entry, read_messages
from stepguard.policy import Decision, Outcome, Policy, read_policy
from stepguard.prompt import Trajectory
from stepguard.taxonomy import Verdict

_STYLES = {"allow": "green", "ask": "yellow", "block": "bold red", "raise": "bold red"}

_DESCRIPTION = """\
A policy says what a host does with an action, from the verdict on it: allow, ask, block or raise.

  stepguard policy check policy.toml
  stepguard policy test policy.toml trajectory.json --model OUT

The file is TOML or JSON; docs/policy.md describes it. A trajectory is one of `stepguard moderate`,
or a message list of OpenAI, Anthropic or LangChain.
"""
_EPILOG = """\
exit status of test:
  0   every action is allowed; else the first of these that occurs:
  10  block or raise    11  ask
  1   policy, model or trajectory cannot be read
  2   wrong usage

keys of test --json: policy (path, deadline_ms), model, trajectories (a list of objects: decisions),
exit_status. A decision has step, outcome, rule, text, labels, tool, call_id and of its verdict
status, reason and score.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "policy",
        help="check a policy, and try it on a trajectory",
        epilog=_EPILOG,
        **formatted(_DESCRIPTION),
    )
    words = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = words.add_parser("check", help="find the mistakes of a policy file")
    check.add_argument("policy", metavar="FILE", help=".toml or .json")
    check.set_defaults(run=run_check)
    test = words.add_parser("test", help="show what a policy makes of a trajectory")
    test.add_argument("policy", metavar="FILE", help=".toml or .json")
    test.add_argument("trajectory", help=".json, .jsonl or .jsonl.gz")
    add_model(test, "--model", required=True)
    add_audit(test)
    add_json(test)
    add_settings(test)
    test.set_defaults(run=run_test)


def run_check(arguments: argparse.Namespace) -> int:
    """Says what a policy lets through."""
    policy = read_policy(arguments.policy)
    out = console()
    tools, labels = len(policy.tools), len(policy.labels)
    out.print(
        f"{plain(arguments.policy)}: good: {tools} rules for tools, {labels} for labels, "
        f"answers within {policy.deadline_ms:g} ms"
    )
    for text in openings(policy):
        out.print(f"note: {plain(text)}", style="yellow")
    return 0


def openings(policy: Policy) -> list[str]:
    """Where a policy lets run what was not judged safe."""
    found = []
    settings = [("default", policy.default)]
    settings += [policy.settings_of(index) for index in range(len(policy.tools))]
    for place, one in settings:
        if one.below is not None:
            name, limit = one.below
            found.append(
                f"{place}.{name} lets actions run that were not judged safe, below {limit:g}"
            )
        for name in ("unsafe", "unsure", "unavailable", "low_coverage", "unreadable"):
            if getattr(one, name) is Outcome.ALLOW:
                found.append(f"{place}.{name} lets actions run that were not judged safe")
        for reason, outcome in one.reasons.items():
            if outcome is Outcome.ALLOW:
                found.append(f"{place}.reasons.{reason} lets actions run that were not judged")
    for index, rule in enumerate(policy.labels):
        if rule.outcome is Outcome.ALLOW:
            found.append(f"labels[{index}] lets actions run that were judged unsafe")
    return found


@dataclass(frozen=True)
class _Line:
    step: int | None
    verdict: Verdict
    decision: Decision


def run_test(arguments: argparse.Namespace) -> int:
    """Judges a trajectory and prints what the policy makes of it."""
    policy = read_policy(arguments.policy)
    read = [read_messages(value, where=where) for where, value in read_values(arguments.trajectory)]
    found = [Trajectory(one.profile, one.steps) for one in read]
    with open_log(arguments) as log:
        with load_guard(arguments) as guard:
            verdicts = guard.moderate_many(found, diagnose=bool(policy.labels))
        lines = [
            [_line(policy, verdict, one.entries) for verdict in judged]
            for one, judged in zip(read, verdicts, strict=True)
        ]
        if log is not None:
            _record(Recorder(log), lines)
    status = exit_status([line.decision for one in lines for line in one])
    if arguments.json:
        print_json(_object(arguments, policy, lines, status))
    else:
        _print(lines)
    return status


def exit_status(decisions: list[Decision]) -> int:
    """The exit status of `policy test`."""
    there = {decision.outcome for decision in decisions}
    if there & {Outcome.BLOCK, Outcome.RAISE}:
        return 10
    return 11 if Outcome.ASK in there else 0


def _line(policy: Policy, verdict: Verdict, entries: tuple[Entry, ...]) -> _Line:
    """The strictest decision on the calls of one step."""
    calls = entries[verdict.step].calls if verdict.step is not None else ()
    found = [policy.decide(verdict, call.name, call.id) for call in calls]
    found = found or [policy.decide(verdict)]
    decision = max(found, key=lambda one: one.outcome.strictness)
    step = None if verdict.step is None else entries[verdict.step].step
    return _Line(verdict.step, verdict, replace(decision, step=step))


def _record(recorder: Recorder, lines: list[list[_Line]]) -> None:
    """Everything that was decided, by the number of the trajectory."""
    for number, one in enumerate(lines, start=1):
        for line in one:
            recorder(f"line {number}", line.decision)


def _print(lines: list[list[_Line]]) -> None:
    table = Table(box=None, pad_edge=False)
    many = len(lines) > 1
    names = ["step", "tool", "verdict", "score", "outcome", "rule"]
    for name in ["trajectory", *names] if many else names:
        table.add_column(name, overflow="fold", justify="right" if name == "score" else "left")
    for number, one in enumerate(lines, start=1):
        for line in one:
            score = "-" if line.verdict.score is None else f"{line.verdict.score:.3f}"
            decision = line.decision
            table.add_row(
                *([str(number)] if many else []),
                str(line.step),
                Text(plain(decision.tool, 40)),
                status_text(line.verdict.status),
                score,
                Text(decision.outcome, style=_STYLES[decision.outcome]),
                Text(decision.rule),
            )
    console().print(table)


def _object(
    arguments: argparse.Namespace, policy: Policy, lines: list[list[_Line]], status: int
) -> dict[str, Any]:
    return {
        "policy": {"path": arguments.policy, "deadline_ms": policy.deadline_ms},
        "model": arguments.model,
        "trajectories": [
            {"decisions": [{"step": line.step, **line.decision.to_dict()} for line in one]}
            for one in lines
        ],
        "exit_status": status,
    }
