"""A fresh process that loads a guard and gives one verdict: for `bench cold`.

It runs as `python -c START QUESTION`, where START notes the time around the first import. It prints
one line of JSON; times are milliseconds of the clock and of the CPU, part by part.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import stepguard.opening as loading
from stepguard import Guard, Step
from stepguard.reader import Reader
from stepguard.runtime import find_onnxruntime, library_version

START = """\
import time
begun = time.monotonic()
import stepguard
imported = time.monotonic()
cpu = time.process_time()
from stepguard.bench.cold_probe import main
main(begun, imported, cpu)
"""
IMPORTS, LIBRARY, PREFIX = "imports", "ONNX Runtime", "prefix restore"
REST, STEP = "prompt, rest of loading", "step and question"
# What `Guard.load` calls -> the part that its time belongs to.
_PARTS: tuple[tuple[Any, str, str], ...] = (
    (loading, "load", "manifest"),
    (loading, "verify", "verification of files"),
    (loading, "load_tokenizer", "tokenizer"),
    (loading, "give_back", "tokenizer"),
    (loading, "Engine", "graph and session"),
    (loading, "recheck", "verification of files"),
    (Reader, "of", PREFIX),
)
PARTS = (IMPORTS, LIBRARY, *dict.fromkeys(part for _, _, part in _PARTS), REST, STEP)


class Clock:
    """Milliseconds by part, of the clock and of the CPU. What lies in two counts for the inner."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.cpu_ms: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._inner = [(0.0, 0.0)]

    def watch(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, its time added to `part`."""

        def timed(*words: Any, **named: Any) -> Any:
            started, cpu = time.monotonic(), time.process_time()
            self._inner.append((0.0, 0.0))
            try:
                return call(*words, **named)
            finally:
                elapsed, used = time.monotonic() - started, time.process_time() - cpu
                inner, inner_used = self._inner.pop()
                self.ms[part] += 1000 * (elapsed - inner)
                self.cpu_ms[part] += 1000 * (used - inner_used)
                outer, outer_used = self._inner.pop()
                self._inner.append((outer + elapsed, outer_used + used))

        return timed


def main(begun: float, imported: float, cpu: float) -> None:
    """begun, imported: seconds of the monotonic clock before and after the import of stepguard.

    cpu: CPU seconds of the process after it.
    """
    asked = json.loads(sys.argv[1])
    clock = Clock()
    clock.ms[IMPORTS], clock.cpu_ms[IMPORTS] = 1000 * (imported - begun), 1000 * cpu
    for owner, name, part in _PARTS:
        setattr(owner, name, clock.watch(part, getattr(owner, name)))
    # What importing this module took is not a user's.
    own = time.monotonic() - imported
    clock.watch(LIBRARY, library_version)(find_onnxruntime().path)
    guard: Guard = clock.watch(REST, Guard.load)(asked["model"], **asked["options"])
    with guard:
        judge = clock.watch(STEP, guard.session().push)
        verdict = judge(Step.environment(asked["text"]))
        done = time.monotonic()
        engine = guard._reader.engine
        names = ("ort_version", "isa", "threads", "kv", "activations")
        answer = {
            "begun": begun,
            "done": done - own,
            "ms": clock.ms,
            "cpu_ms": clock.cpu_ms,
            "reason": verdict.reason.value if verdict.reason else "",
            "tokens": verdict.tokens_read,
            "setup": {name: getattr(engine, name) for name in names},
        }
    print(json.dumps(answer))
