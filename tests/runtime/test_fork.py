"""A child of fork() gets a named error, and ends even if it drops everything on its way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys, threading
import numpy as np
from stepguard.errors import ForkedProcessError
from stepguard.runtime import Engine, Segment

engine = Engine({model!r}, threads=2, memory=16 << 20)
ids = np.arange(30, dtype=np.int32)
states = [engine.submit([Segment(ids, engine.root, keep=True)]).wait(60)[0].state]
stop = False

def work():
    while not stop:
        engine.submit([Segment(ids, engine.root, keep=True)]).wait(60)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        try:
            engine.submit([Segment(ids, engine.root)])
        except ForkedProcessError:
            del states, engine  # as a child that ends normally would
            os._exit(0)
        os._exit(3)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
stop = True
for thread in threads:
    thread.join()
print("CODES", set(codes))
"""


def test_children_of_a_busy_parent_end(tiny_models: dict[str, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(model=str(tiny_models["int8"]))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CODES {0}" in done.stdout
