"""stepguard serve: one guard for many agents."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stepguard.audit import Recorder
from stepguard.cli.load import add_model, add_settings, load_guard
from stepguard.cli.log import add_audit, open_log
from stepguard.cli.saved import UNTRAINED
from stepguard.cli.show import formatted, plain
from stepguard.errors import ServeError
from stepguard.extras import needs
from stepguard.policy import read_policy

_MOST = 1 << 31

_DESCRIPTION = """\
Loads a guard once and serves it to many agents: sessions, OpenAI's moderation endpoint, hooks of
Claude Code and Codex.

  stepguard serve OUT                                  on a Unix socket, for yourself
  stepguard serve OUT --socket PATH --clients 1000     as a user of its own, for agents of uid 1000
  stepguard serve OUT --tcp 8300 --token-file FILE     on 127.0.0.1, where it must be

SIGTERM ends it when the calls under way are answered. docs/server.md lists the endpoints.
"""
_EPILOG = """\
exit status:
  0   it was told to end, and has answered everything
  1   the model cannot be loaded, or the address cannot be used
  2   wrong usage
  3   it was told to end, and some calls took too long
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    help_text = "serve a guard to many agents"
    parser = commands.add_parser("serve", help=help_text, epilog=_EPILOG, **formatted(_DESCRIPTION))
    add_model(parser)
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="of the Unix socket, in a folder of your own"
    )
    parser.add_argument(
        "--clients", type=_uids, metavar="UID,...", help="further users who may connect"
    )
    parser.add_argument("--tcp", type=_port, metavar="PORT", help="a port of 127.0.0.1 instead")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="with --tcp: what clients must send"
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="what follows from verdicts; without it only safe calls run",
    )
    add_audit(parser)
    _add_limits(parser)
    add_settings(parser)
    parser.add_argument(
        "--diagnoser", metavar="DIR", help="another model directory, which diagnoses"
    )
    parser.add_argument("--taxonomy", metavar="FILE", help="labels of diagnoses, as for moderate")
    parser.add_argument("--isa", metavar="NAME", help="kernel table; `stepguard info` lists them")
    parser.set_defaults(run=partial(run, parser))


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits: dict[str, tuple[str, str]] = {
        "--queue": ("N", "calls under way at a time; one more gets 429 (64)"),
        "--sessions": ("N", "open sessions (256)"),
        "--idle": ("SECONDS", "after which an unused session is closed (900)"),
        "--body": ("BYTES", "longest body of a request (1048576)"),
        "--deadline-ms": ("MS", "of calls that name none (10000)"),
        "--drain": ("SECONDS", "for calls under way after SIGTERM (30)"),
    }
    for name, (unit, text) in limits.items():
        parser.add_argument(name, type=_positive, metavar=unit, help=text)


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Serves until a signal."""
    if (wrong := _wrong(arguments)) is not None:
        parser.error(wrong)
    with needs("serve", "stepguard serve", error=ServeError):
        from stepguard.server import Settings, serve
    policy = None if arguments.policy is None else read_policy(arguments.policy)
    with (
        open_log(arguments) as log,
        _listener(arguments) as (listener, where, token),
    ):
        recorder = None if log is None else Recorder(log)
        settings = Settings(token=token, **_settings(arguments))
        with load_guard(
            arguments,
            isa=arguments.isa,
            taxonomy=arguments.taxonomy,
            diagnoser=arguments.diagnoser,
        ) as guard:
            if not guard.trained:
                print(UNTRAINED, flush=True)
            ready = f"listening on {plain(where)}"
            say = partial(print, ready, flush=True)
            return 0 if serve(guard, settings, listener, say, policy, recorder) else 3


def _wrong(arguments: argparse.Namespace) -> str | None:
    """Which options do not fit together."""
    if arguments.tcp is None:
        return None if arguments.token_file is None else "--token-file goes with --tcp only"
    if arguments.socket is not None or arguments.clients:
        return "--tcp goes with no --socket and no --clients"
    if arguments.token_file is None:
        return "--tcp needs --token-file: anybody on this machine can connect to a port"
    return None


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = {"queue": "queue", "sessions": "sessions", "body": "body_bytes", "idle": "idle_s"}
    names |= {"deadline_ms": "deadline_ms", "drain": "drain_s"}
    given = {field: getattr(arguments, name) for name, field in names.items()}
    found = {field: value for field, value in given.items() if value is not None}
    if arguments.clients:
        found["clients"] = arguments.clients
    return found


@contextmanager
def _listener(arguments: argparse.Namespace) -> Iterator[tuple[socket.socket, str, str | None]]:
    """The socket, its name for people, and the token of its clients."""
    from stepguard.server import default_path, read_token, tcp_socket, unix_socket

    if arguments.tcp is None:
        path = arguments.socket or default_path()
        with unix_socket(path, shared=bool(arguments.clients)) as listener:
            yield listener, os.fspath(path), None
        return
    token = read_token(arguments.token_file)
    with tcp_socket(arguments.tcp) as listener:
        yield listener, f"127.0.0.1:{listener.getsockname()[1]}", token


def _positive(text: str) -> int:
    value = int(text)
    if not 1 <= value < _MOST:
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, got {text}")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"expected 0 (any) to 65535, got {text}")
    return value


def _uids(text: str) -> frozenset[int]:
    values = frozenset(int(part) for part in text.split(","))
    if not all(0 <= value < 1 << 32 for value in values):
        raise argparse.ArgumentTypeError(f"expected uids, got {text}")
    return values
