"""The command `stepguard`: one file per command, each with `add` (its arguments) and `run`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from stepguard.cli import bench, default, export, info, inspect, moderate
from stepguard.cli.show import plain
from stepguard.errors import StepguardError

__all__ = ["main"]

FAILED, INTERRUPTED, PIPE_BROKEN = 1, 130, 141

_DESCRIPTION = """\
A verdict before every action of an LLM agent, in the agent's own process.

  stepguard export CHECKPOINT OUT --quant int4    make a model directory of a checkpoint
  stepguard inspect OUT                           see what is in it, and that nothing was changed
  stepguard moderate OUT trajectory.json          judge a trajectory, action by action
  agent | stepguard moderate OUT -                judge it while it happens
  stepguard info                                  see what this machine runs it with

No checkpoint at hand? `stepguard default install` fetches a small base model to try the road with.
Every command explains itself: stepguard moderate --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status. Wrong usage raises SystemExit(2)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            parsed = _parser(words).parse_args(words)
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


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stepguard",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (export, inspect, moderate, info, default):
        command.add(commands)
    bench.add(commands, load=words[:1] == ["bench"])
    return parser
