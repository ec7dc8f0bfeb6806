"""Tests the adapters, each host in an environment of its own: `make test-hosts`.

An environment is made once and kept in build/hosts. Hosts cannot share one: they want different
versions of the same packages.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The versions that the adapters were written against; docs/hosts.md names them too.
HOSTS = {
    "agent-hooks": ["agent-hooks-sdk==0.1.0b3", "agent-framework-core==1.23.0"],
    "langchain": ["langchain==1.5.2", "langgraph==1.2.24"],
    "openai-agents": ["openai-agents==0.24.0"],
    "coding-agents": [
        "starlette==1.10.0",
        "uvicorn==0.54.0",
        "prometheus-client==0.26.0",
        "pytest-xdist>=3.5,<4",
    ],
}
# Programs of npm beside them, 800 MB; where there is no npm their tests are skipped.
PROGRAMS = {"coding-agents": ["@anthropic-ai/claude-code@2.1.332", "@openai/codex@0.169.0"]}
# What stepguard and its tests need beside. Bounded: an environment should not change by itself.
TOOLS = ["numpy>=1.26", "tokenizers>=0.21,<1", "rich>=13", "jinja2>=3.1"]
TOOLS += ["pytest>=8", "filelock>=3.12"]


def main() -> int:
    """0 where all tests pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", help=f"some of {', '.join(HOSTS)}; none is all")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "hosts")
    from_where = parser.add_mutually_exclusive_group(required=True)
    from_where.add_argument("--wheel", type=Path, help="of stepguard")
    from_where.add_argument("--package", type=Path, help="a folder that has the package in it")
    arguments = parser.parse_args()
    names = arguments.hosts or list(HOSTS)
    if unknown := sorted(set(names) - set(HOSTS)):
        parser.error(f"unknown: {', '.join(unknown)}; expected {', '.join(HOSTS)}")
    started = time.monotonic()
    pythons = {name: environment(arguments.folder / name, name) for name in names}
    print(f"== environments: {time.monotonic() - started:.0f} s", flush=True)
    failed = []
    for name, python in pythons.items():
        if arguments.wheel:
            pip(python, "--force-reinstall", "--no-deps", str(arguments.wheel))
        started = time.monotonic()
        if tested(name, python, arguments.package) != 0:
            failed.append(name)
        print(f"== {name}: {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def environment(folder: Path, name: str) -> Path:
    """The Python of a host's environment; it is made where it is not as wanted."""
    python, stamp = folder / "bin" / "python", folder / ".packages"
    packages, programs = HOSTS[name], PROGRAMS.get(name, [])
    if programs and shutil.which("npm") is None:
        print(f"== no npm: {', '.join(programs)} are not tested", flush=True)
        programs = []
    wanted = "\n".join([*packages, *programs, *TOOLS, sys.version])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip(python, *packages, *TOOLS)
    if programs:
        words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
        if subprocess.run([*words, *programs], check=False).returncode != 0:
            print(f"== npm cannot install {', '.join(programs)}: not tested", flush=True)
            return python  # without the stamp: the next run tries again
    stamp.write_text(wanted, encoding="utf-8")
    print(f"== made {folder.name}: {time.monotonic() - started:.0f} s", flush=True)
    return python


def pip(python: Path, *words: str) -> None:
    """Installs something."""
    command = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True)


def tested(name: str, python: Path, package: Path | None) -> int:
    """The exit status of the host's tests."""
    paths = {} if package is None else {"PYTHONPATH": str(package.resolve())}
    folder = f"tests/hosts/with_{name.replace('-', '_')}"
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", folder]
    if name in PROGRAMS:  # a program waits more than it works; elsewhere these are slow tests
        command += ["-m", "slow or not slow", "-n", "4"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **paths}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
