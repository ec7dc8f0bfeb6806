"""Runs a command of stepguard and writes down its peak memory and CPU time: for other benchmarks.

python -m stepguard.bench.peak FILE WORDS...
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from stepguard.bench.smaps import peak_resident
from stepguard.cli import main

if __name__ == "__main__":
    status = main(sys.argv[2:])
    facts = {"peak": peak_resident(), "cpu_seconds": time.process_time()}
    Path(sys.argv[1]).write_text(json.dumps(facts), encoding="utf-8")
    sys.exit(status)
