"""Fuzzes every target, or one, each in a process of its own, and prints what came of it.

Used by `make fuzz`. Ends with 1 when there is a finding, and says how to see it again.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.one import TARGETS
from tests.fuzz.target import memory

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "fuzz"
NATIVE = "ops"  # C++, under AddressSanitizer and UBSan
_GRACE = 120  # seconds beyond those of fuzzing, for starting and for an input that hangs


@dataclass(frozen=True)
class Outcome:
    """A line of the table."""

    target: str
    engine: str
    executions: int
    seconds: float
    new: int
    status: int
    findings: list[Path]

    @property
    def good(self) -> bool:
        return self.status == 0 and not self.findings and self.executions > 0

    @property
    def line(self) -> str:
        rate = self.executions / max(self.seconds, 1e-9)
        found = len(self.findings) or (0 if self.good else 1)
        return (
            f"{self.target:<12} {self.engine:<22} {self.executions:>10} {rate:>8.0f} "
            f"{self.new:>7} {found:>9}"
        )


def fuzz(target: str, seconds: int, seed: int, native: Path | None, plain: bool) -> Outcome:
    """One target for that long. Its corpus and findings are kept below build/fuzz."""
    place = PLACE / target
    corpus, findings = place / "corpus", place / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    command = _command(target, seconds, seed, corpus, findings, native, plain)
    known, before = set(corpus.iterdir()), set(findings.iterdir())
    log = place / "log"
    started = time.monotonic()
    with log.open("wb") as out, tempfile.TemporaryDirectory(dir=memory()) as scratch:
        status = _run(command, out.fileno(), scratch, seconds + _GRACE)
    text = log.read_text("utf-8", "replace")
    counts = re.findall(r"stat::number_of_executed_units: *(\d+)", text)
    found = sorted(set(findings.iterdir()) - before)
    outcome = Outcome(
        target,
        _engine(target, plain),
        int(counts[-1]) if counts else 0,
        min(time.monotonic() - started, seconds),
        len(set(corpus.iterdir()) - known),
        status,
        found,
    )
    if not outcome.good:
        print(text[-4000:], file=sys.stderr)
        print(f"{target}: status {status}, log {log}", file=sys.stderr)
        for path in found:
            print(f"make fuzz TARGET={target} REPRODUCE={path}", file=sys.stderr)
    return outcome


def _engine(target: str, plain: bool) -> str:
    if target == NATIVE:
        return "coverage, ASan+UBSan"
    return "own mutators" if plain else "atheris (libFuzzer)"


def _command(
    target: str,
    seconds: int,
    seed: int,
    corpus: Path,
    findings: Path,
    native: Path | None,
    plain: bool,
) -> list[str]:
    if target == NATIVE:
        return [str(native), str(corpus), str(findings), str(seconds), str(seed)]
    module = importlib.import_module(f"tests.fuzz.{target}_target")
    for number, seed_input in enumerate(module.TARGET.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed_input)
    words = [sys.executable, "-m", "tests.fuzz.one", target, f"--corpus={corpus}"]
    words += [f"--findings={findings}", f"--seconds={seconds}", f"--seed={seed}"]
    return [*words, "--plain"] if plain else words


def _run(command: list[str], out: int, scratch: str, most: int) -> int:
    environment = {**os.environ, "TMPDIR": scratch}
    try:
        done = subprocess.run(
            command, stdout=out, stderr=out, cwd=ROOT, env=environment, timeout=most, check=False
        )
    except subprocess.TimeoutExpired:
        return -1
    return done.returncode


def reproduce(target: str, path: Path, native: Path | None) -> int:
    """Runs one input again, in the open."""
    command = [sys.executable, "-m", "tests.fuzz.one", target, "--corpus=.", "--findings=."]
    command.append(f"--reproduce={path}")
    if target == NATIVE:
        command = [str(native), str(path)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=[*TARGETS, NATIVE])
    parser.add_argument("--native", type=Path, help="the program that fuzzes the operations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reproduce", type=Path)
    options = parser.parse_args()
    if options.reproduce and not options.target:
        parser.error("--reproduce needs --target: whose input it is")
    if options.reproduce:
        return reproduce(options.target, options.reproduce.absolute(), options.native)
    plain = importlib.util.find_spec("atheris") is None
    if plain:
        print("atheris is not to be had here: Python targets run with our own mutators, unguided")
    names = [options.target] if options.target else [*TARGETS, NATIVE]
    outcomes = []
    for name in names:
        outcomes.append(fuzz(name, options.seconds, options.seed, options.native, plain))
        print(f"{name}: {'nothing found' if outcomes[-1].good else 'FINDING'}", flush=True)
    print(
        f"{'target':<12} {'engine':<22} {'executions':>10} {'per s':>8} {'new':>7} {'findings':>9}"
    )
    for outcome in outcomes:
        print(outcome.line)
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
