"""`--begin-within` skips what comes too late, says so, and lets everything else run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *more: str) -> str:
    (folder / "test_two.py").write_text(
        "import time\n\ndef test_one():\n    time.sleep(0.5)\n\ndef test_two():\n    pass\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider"]
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    done = subprocess.run([*words, *more], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_what_begins_too_late_is_skipped(tmp_path: Path) -> None:
    assert "2 passed" in run(tmp_path)
    assert "2 passed" in run(tmp_path, "--begin-within", "5")
    late = run(tmp_path, "--begin-within", "0")
    assert "2 skipped" in late
    assert "no time left: 0 minutes have passed" in late
