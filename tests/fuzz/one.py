"""Fuzzes one target in this process: with atheris where it is there, else with our own mutators.

Ends like libFuzzer: status 0 without a finding; else the input lies in the folder of findings. The
last lines say how many inputs ran. `python -m tests.fuzz.one --help`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random

TARGETS = (
    "manifest",
    "taxonomy",
    "gguf",
    "safetensors",
    "head",
    "trajectory",
    "prompt",
    "audit",
    "saved",
    "graph",
)
HANG = 10  # seconds of one input
MEMORY = 2048  # MB of the process
_FOUND = 77  # exit status, as libFuzzer's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="our own mutators")
    parser.add_argument("--reproduce", type=Path, help="run this input and nothing else")
    options = parser.parse_args()
    if options.reproduce:
        _reproduce(options.target, options.reproduce.read_bytes())
    elif options.plain or importlib.util.find_spec("atheris") is None:
        sys.exit(_with_own_mutators(options))
    else:
        _with_atheris(options)


def _load(name: str):  # type: ignore[no-untyped-def]  # a module that only this process has read
    return importlib.import_module(f"tests.fuzz.{name}_target").TARGET


def _reproduce(name: str, data: bytes) -> None:
    signal.alarm(HANG)
    print(f"{name}: {'read' if _load(name).accepts(data) else 'refused by name'}")


def _with_atheris(options: argparse.Namespace) -> None:
    import atheris

    with atheris.instrument_imports(include=["stepguard"]):
        target = _load(options.target)
    words = options.findings.parent / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.randrange(2):
            return bytes(atheris.Mutate(data, most))
        return target.mutate(data, random)[:most]

    arguments = [
        sys.argv[0],
        str(options.corpus),
        f"-max_total_time={options.seconds}",
        f"-max_len={target.most}",
        f"-seed={options.seed}",
        f"-timeout={HANG}",
        f"-rss_limit_mb={MEMORY}",
        f"-dict={words}",
        f"-artifact_prefix={options.findings}/",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, target.accepts, custom_mutator=mutate)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _with_own_mutators(options: argparse.Namespace) -> int:
    """No coverage leads the way here; what is kept are inputs that were read, to start from."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    target, random = _load(options.target), Random(options.seed)
    known = [path.read_bytes() for path in sorted(options.corpus.iterdir())]
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (MEMORY << 20), hard))
    until, count = time.monotonic() + options.seconds, 0
    # What kills the process leaves its input behind.
    current = os.open(options.findings / "crash-current", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    while time.monotonic() < until:
        data = target.mutate(random.choice(known), random)[: target.most]
        os.ftruncate(current, os.pwrite(current, data, 0))
        signal.alarm(HANG)
        try:
            if target.accepts(data) and random.randrange(16) == 0 and len(known) < 10_000:
                known.append(data)
        except Exception:
            traceback.print_exc()
            name = f"crash-{hashlib.sha256(data).hexdigest()[:40]}"
            (options.findings / "crash-current").rename(options.findings / name)
            return _FOUND
        signal.alarm(0)
        count += 1
    with contextlib.suppress(FileNotFoundError):
        (options.findings / "crash-current").unlink()
    print(f"stat::number_of_executed_units: {count}")
    return 0


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
