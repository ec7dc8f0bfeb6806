"""Runs a command of stepguard and writes down the most memory that it had: for other benchmarks.

python -m stepguard.bench.peak FILE WORDS...
"""

from __future__ import annotations

import sys
from pathlib import Path

from stepguard.bench.smaps import peak_resident
from stepguard.cli import main

if __name__ == "__main__":
    status = main(sys.argv[2:])
    Path(sys.argv[1]).write_text(str(peak_resident()), encoding="utf-8")
    sys.exit(status)
