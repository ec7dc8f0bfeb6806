"""Types of arguments; argparse turns their ValueError into wrong usage."""

from __future__ import annotations

import argparse
from pathlib import Path

from stepguard.bench.latency.devices import DEVICES
from stepguard.bench.latency.measure import OURS
from stepguard.bench.latency.peer import PEERS
from stepguard.runtime import usable_cores

# Tokens of a question, from the profile's end to the answer, in Qwen3.5's vocabulary.
QUESTIONS = {"unified": 19, "binary": 26, "coarse": 277}
OTHERS = [name for name in PEERS if name != OURS]


def count(text: str) -> int:
    """A positive whole number."""
    return _at_least(1, text)


def seed(text: str) -> int:
    """A whole number that is not negative."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise ValueError(text)
    return value


def parse_question(text: str) -> int:
    """A number of tokens, or the name of a prompt's question."""
    value = QUESTIONS.get(text) or int(text)
    if value < 1:
        raise ValueError(text)
    return value


def parse_counts(text: str) -> list[int]:
    """Positive numbers with commas between."""
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise ValueError(text)
    return counts


def parse_sizes(text: str) -> list[int]:
    """Positive numbers with commas between; "0" for none."""
    return [] if text == "0" else parse_counts(text)


def parse_names(text: str) -> list[str]:
    """Names with commas between."""
    return text.split(",")


def parse_peers(text: str) -> list[str]:
    """Names of peers with commas between; "none" for none."""
    names = [] if text == "none" else text.split(",")
    unknown = set(names) - set(PEERS) | ({OURS} & set(names))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"expected names out of {', '.join(OTHERS)} or none, got {', '.join(sorted(unknown))}"
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
    parser.add_argument("--threads", type=count, default=default_threads(), help=text)
    parser.add_argument("--seed", type=seed, default=0, help="other weights (%(default)s)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where files are made and kept")
    text = "write everything as one JSON object, too"
    parser.add_argument("--json", type=Path, metavar="FILE", help=text)
