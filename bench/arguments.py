"""Types of arguments: what is wrong with one is said by what was expected."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from stepguard.bench.latency.devices import DEVICES
from stepguard.bench.latency.measure import OURS
from stepguard.bench.latency.peer import PEERS
from stepguard.bench.outputs import add_json_file
from stepguard.cli.arguments import count, seed, threads
from stepguard.cli.show import add_activations
from stepguard.errors import StepguardError
from stepguard.runtime import active_isa, multiplies_bfloat16, usable_cores

# Tokens of a question, from the profile's end to the answer, in Qwen3.5's vocabulary.
QUESTIONS = {"unified": 19, "binary": 26, "coarse": 277}
OTHERS = [name for name in PEERS if name != OURS]
_DAY = 86_400.0


def seconds(text: str) -> float:
    """How long something is to take; ArgumentTypeError for what is no such time."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _DAY:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to {_DAY:,.0f}, got {text!r}")
    return value


def parse_question(text: str) -> int:
    """A number of tokens, or the name of a prompt's question."""
    try:
        return QUESTIONS.get(text) or count(text)
    except argparse.ArgumentTypeError as error:
        names = ", ".join(QUESTIONS)
        expected = f"expected a whole number from 1 up, or one of {names}"
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}") from error


def parse_counts(text: str) -> list[int]:
    """Positive numbers with commas between."""
    return [count(part.strip()) for part in text.split(",")]


def parse_sizes(text: str) -> list[int]:
    """Positive numbers with commas between; "0" for none."""
    return [] if text == "0" else parse_counts(text)


def parse_names(text: str) -> list[str]:
    """Names with commas between, and spaces where they are."""
    return [name.strip() for name in text.split(",")]


def parse_peers(text: str) -> list[str]:
    """Names of peers with commas between; "none" for none."""
    names = [] if text.strip() == "none" else parse_names(text)
    unknown = set(names) - set(PEERS) | ({OURS} & set(names))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"expected names out of {', '.join(OTHERS)} or none, "
            f"got {', '.join(sorted(unknown)) or 'an empty name'}"
        )
    return names


def default_threads() -> int:
    """Two, or one on a machine that has no more: what the published figures were taken with."""
    return min(2, usable_cores())


def add_question(parser: argparse.ArgumentParser) -> None:
    """--question."""
    names = ", ".join(f"{name} ({size})" for name, size in QUESTIONS.items())
    text = f"tokens of the question, or one of {names} (%(default)s)"
    parser.add_argument("--question", type=parse_question, default=24, help=text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device; a measurement never goes on with another one."""
    text = "what computes (%(default)s)"
    parser.add_argument("--device", choices=DEVICES, default="cpu", help=text)


def add_engines(parser: argparse.ArgumentParser, peers: list[str] | None = None) -> None:
    """Which engines, how they are set up, and where their files and the report go."""
    default = OTHERS if peers is None else peers
    shown = ",".join(default) or "none"
    text = f"other engines ({', '.join(OTHERS)}) with commas between, or none ({shown})"
    parser.add_argument("--peers", type=parse_peers, default=default, metavar="NAMES", help=text)
    add_device(parser)
    text = "threads of every engine (%(default)s)"
    parser.add_argument("--threads", type=threads, default=default_threads(), help=text)
    add_activations(parser, calibrated=False)
    parser.add_argument("--seed", type=seed, default=0, help="other weights (%(default)s)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where files are made and kept")
    add_json_file(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """--threads, where a guard has its own default."""
    text = "threads of a forward pass"
    parser.add_argument("--threads", type=threads, metavar="N", help=text)


def check_table(arguments: argparse.Namespace) -> str:
    """The kernel table of --isa, else of STEPGUARD_ISA, else the best; ends with wrong usage where
    --activations bf16 needs another one.

    Raises:
        RuntimeMissingError: there is no such table here; said before any file is made.
    """
    table = active_isa(getattr(arguments, "isa", None))
    if getattr(arguments, "activations", None) == "bf16":
        on_gpu = getattr(arguments, "device", "cpu") == "cuda"
        if on_gpu or not multiplies_bfloat16(table):
            what = "a GPU" if on_gpu else table
            arguments.usage(f"--activations bf16: needs the table amx, this is {what}")
    return table


def check_length(name: str, tokens: int, context: int) -> None:
    """Call it before anything is made; StepguardError where the model reads no path so long."""
    if tokens > context:
        raise StepguardError(
            name,
            expected=f"at most {context:,} tokens, which are its context",
            got=f"a path of {tokens:,}",
            fix="Ask for shorter texts.",
        )
