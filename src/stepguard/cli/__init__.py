"""The command `stepguard`: one file per command, each with `add` (its arguments) and `run`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from stepguard._version import __version__
from stepguard.cli import (
    audit,
    bench,
    calibrate,
    default,
    doctor,
    export,
    head,
    info,
    inspect,
    moderate,
    policy,
    report_page,
    screen,
    serve,
    train,
)
from stepguard.errors import StepguardError
from stepguard.harmless import plain, plain_lines

__all__ = ["main"]

FAILED, INTERRUPTED, PIPE_BROKEN = 1, 130, 141
_HEARD = ("stepguard", "uvicorn", "asyncio")

_DESCRIPTION = """\
A verdict before every action of an LLM agent, in the agent's own process.

  stepguard export CHECKPOINT OUT --quant int4    make a model directory of a checkpoint
  stepguard inspect OUT                           see what is in it, and that nothing was changed
  stepguard moderate OUT trajectory.json          judge a trajectory, action by action
  agent | stepguard moderate OUT -                judge it while it happens
  stepguard report trajectory.json -o page.html --model OUT   the same as a page
  stepguard serve OUT                             serve it to many agents, or to their hooks
  stepguard policy test FILE trajectory.json --model OUT    see what a policy makes of it
  stepguard calibrate OUT data.jsonl --target-fnr 0.05    make its scores probabilities
  stepguard head fit OUT data.jsonl               let a base model judge, by a trained head
  stepguard doctor langchain                      prove that a block blocks in an agent framework
  stepguard train generate OUT.jsonl              labelled trajectories to train with
  stepguard train lora CHECKPOINT data.jsonl --out RUN    teach a base model to judge
  stepguard audit verify LOG                      see whether a log of decisions is whole
  stepguard info                                  see what this machine runs it with

No checkpoint at hand? `stepguard default install` makes the small guard that comes with stepguard;
`default` names it in place of OUT.
Every command explains itself: stepguard moderate --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status. Wrong usage raises SystemExit(2)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            parsed = _parser(words).parse_args(words)
            with _warnings():
                status: int = parsed.run(parsed)
            return status
        finally:
            if sys.stdout is not None:  # closed by the caller
                sys.stdout.flush()  # here, and not at exit, a broken pipe can be caught
    except StepguardError as error:
        return _fail(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more; what is still buffered must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_BROKEN
    except OSError as error:
        return _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")


def _fail(text: str) -> int:
    print(f"stepguard: {plain(text)}", file=sys.stderr)
    return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Repeats what was typed, which a script may have taken from a file, as harmless text."""
        super().error(plain_lines(message))


class _Harmless(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Paths and the messages of errors are content too."""
        return f"stepguard: {plain_lines(super().format(record))}"


@contextmanager
def _warnings() -> Iterator[None]:
    """What the library and its server warn of goes to stderr as harmless lines."""
    loggers, handler = [logging.getLogger(name) for name in _HEARD], logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Harmless())
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="stepguard",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stepguard {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        *(export, inspect, moderate, serve, report_page, policy, audit, doctor),
        *(calibrate, head, screen, train, info, default),
    ):
        command.add(commands)
    bench.add(commands, load=words[:1] == ["bench"])
    return parser
