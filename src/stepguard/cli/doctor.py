"""stepguard doctor: proves that a block really blocks in a host, as it is installed here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from rich.table import Table
from rich.text import Text

from stepguard.cli.show import add_json, console, formatted, plain, print_json
from stepguard.doctor import claude_code, codex
from stepguard.errors import StepguardError
from stepguard.integrations import trials
from stepguard.integrations.trials import Check


@dataclass(frozen=True)
class Host:
    """A host: the packages it comes in, and what must hold."""

    packages: tuple[str, ...]
    checks: Callable[[], Iterable[Check]]


HOSTS = {
    "claude-code": Host((), claude_code.checks),
    "codex": Host((), codex.checks),
    "agent-hooks": Host(("agent-hooks-sdk", "agent-framework-core"), trials.agent_hooks),
    "langchain": Host(("langchain", "langgraph", "langchain-core"), trials.langchain),
    "openai-agents": Host(("openai-agents",), trials.openai_agents),
}

_DESCRIPTION = """\
Runs the host with a scripted model; nothing is sent anywhere.

Hosts in Python: with an adapter of stepguard and planted decisions, first all calls are allowed,
then all are blocked; no guard is loaded. Coding agents: as they are wired for this user in this
folder, with the resident guard that their hooks ask; it blocks one marked call.

  stepguard doctor langchain
  stepguard doctor claude-code
"""
_EPILOG = """\
exit status:
  0   everything that must hold holds
  1   something does not, or the host is not installed here
  2   wrong usage

keys of --json: host, versions (by package, null where it is missing), checks (a list of objects:
what, good, found), exit_status.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "doctor",
        help="prove that a block really blocks in a host",
        epilog=_EPILOG,
        **formatted(_DESCRIPTION),
    )
    parser.add_argument("host", metavar="HOST", choices=sorted(HOSTS), help=", ".join(HOSTS))
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the checks of a host and says what happened."""
    host = HOSTS[arguments.host]
    versions = {name: _version(name) for name in host.packages}
    found = _checks(host)
    status = 0 if found and all(check.good for check in found) else 1
    if arguments.json:
        print_json(_object(arguments.host, versions, found, status))
    else:
        _print(versions, found)
    return status


def _checks(host: Host) -> list[Check]:
    try:
        return list(host.checks())
    except StepguardError as error:  # it is not there
        return [Check("the host is installed", False, str(error))]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _object(
    host: str, versions: dict[str, str | None], found: list[Check], status: int
) -> dict[str, Any]:
    checks = [{"what": one.what, "good": one.good, "found": one.found} for one in found]
    return {"host": host, "versions": versions, "checks": checks, "exit_status": status}


def _print(versions: dict[str, str | None], found: list[Check]) -> None:
    out = console()
    for name, version in versions.items():
        out.print(f"{name} {version or 'is not installed'}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in found:
        mark = Text("ok", style="green") if check.good else Text("FAILED", style="bold red")
        table.add_row(mark, Text(check.what), Text(plain(check.found, 300)))
    out.print(table)
