"""The Python of an environment with `optimum`, whose ONNX part wants an older transformers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stepguard.errors import ExportError
from stepguard.harmless import plain

REQUIREMENTS = ("optimum[onnxruntime]==2.1.0", "onnxruntime<1.33", "sentencepiece>=0.2")
INSTALL_FIX = (
    "Type the same with --install, which makes an environment with pip, or give one that has "
    "optimum[onnxruntime]: --python PATH"
)
_CHECK = "import optimum.exporters.onnx, onnxruntime"


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / "bin" / "python"


def find_python(given: str | None, folder: Path) -> Path:
    """The interpreter that was given, or that of the environment `folder`.

    Raises:
        ExportError: it is not there, or has no optimum; says what to type.
    """
    python = Path(given) if given is not None else python_of(folder)
    if python.is_dir():
        python = python_of(python)
    expected = "a Python that has optimum[onnxruntime]"
    if not python.is_file():
        raise ExportError(str(python), expected=expected, got="no such file", fix=INSTALL_FIX)
    done = subprocess.run(
        [python, "-I", "-c", _CHECK], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        got = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][-200:]
        raise ExportError(str(python), expected=expected, got=got, fix=INSTALL_FIX)
    return python


def install(folder: Path, also: Sequence[str] = ()) -> None:
    """Makes the environment `folder` where it is missing, with pip; what runs is told on stderr.

    also: further requirements.

    Raises:
        ExportError: venv or pip failed. OSError: the folder cannot be made.
    """
    python = python_of(folder)
    pip = [str(python), "-I", "-m", "pip", "install", *REQUIREMENTS, *also]
    commands = [pip]
    if not python.is_file():
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        commands.insert(0, [sys.executable, "-I", "-m", "venv", str(folder)])
    for command in commands:
        print("$", plain(" ".join(command)), file=sys.stderr, flush=True)
        # Their own words go to stderr: standard output is for the result.
        status = subprocess.run(command, stdout=sys.stderr.fileno(), check=False).returncode
        if status:
            raise ExportError(
                " ".join(command[3:5]),
                expected="it to make an environment with optimum",
                got=f"exit status {status}",
                fix="Remove " + str(folder) + ", or give an environment with --python PATH",
            )
