"""The process whose memory `bench memory` measures: a question on stdin, an answer on stdout.

What it does depends on the question's `task`. It imports nothing that a host would not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stepguard import Guard, Session, Verdict
from stepguard.bench.smaps import Mapping, read_smaps, resident_in
from stepguard.heap import give_back
from stepguard.prompt import Trajectory, load_tokenizer
from stepguard.runtime import PAGE_TOKENS, Engine, Segment, State, find_onnxruntime, library_version

Answer = dict[str, Any]
# The C library reserves the heaps of threads by this much; arenas are larger.
_THREAD_HEAP = 64 << 20
_STATES, _TOKENS = 8, 2 * PAGE_TOKENS


def parts(question: Answer) -> Answer:
    """Resident bytes of the interpreter with stepguard, then what ONNX Runtime and the tokenizer
    add: `python`, `ort`, `tokenizer`."""
    give_back()
    python = total()
    library_version(find_onnxruntime().path)
    give_back()
    ort = total()
    text = (Path(question["model"]) / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = load_tokenizer(text)
    del text
    give_back()
    answer = {"python": python, "ort": ort - python, "tokenizer": total() - ort}
    del tokenizer
    return answer


def load(question: Answer) -> Answer:
    """`seconds` to load."""
    return {"seconds": _load(question)[1]}


def run(question: Answer) -> Answer:
    """Loads, judges until the first verdict, then until the context is full."""
    free = _gpu_free(question)
    guard, seconds = _load(question)
    with guard:
        answer: Answer = {"seconds": seconds, "loaded": survey(question, guard)}
        with guard.session() as session:
            for _ in _verdicts(guard, session, question):
                answer["full"] = survey(question, guard)
                answer.setdefault("judged", answer["full"])
            answer["gpu"] = None if free is None else free - (_gpu_free(question) or 0)
            engine = guard._reader.engine
            names = ("ort_version", "isa", "threads", "kv", "activations")
            answer["setup"] = {name: getattr(engine, name) for name in names}
            if free is None:
                answer["state"], answer["tokens"] = _growth(engine, guard._reader.prefix)
    return answer


def survey(question: Answer, guard: Guard) -> dict[str, int]:
    """Resident bytes now: `total`, `ort` (the library), `linears`, `tables`, `arenas`, `copied`.

    `copied` are bytes of the weights that are not the file's any more; `pages` counts KV pages.
    """
    mappings = read_smaps()
    weights = [m for m in mappings if m.path == str(Path(question["model"], "weights.bin"))]
    mapped = sum(m.resident for m in weights)
    tables = resident_in(weights, question["tables"])
    return {
        "total": sum(m.resident for m in mappings),
        "ort": sum(m.resident for m in mappings if "libonnxruntime" in Path(m.path).name),
        "linears": mapped - tables,
        "tables": tables,
        "arenas": arena_bytes(mappings),
        "copied": sum(m.anonymous for m in weights),
        "pages": int(guard.stats()["pages_used"]),
    }


def arena_bytes(mappings: list[Mapping]) -> int:
    """Resident bytes of KV pages and recurrent slots: large reserved memory, touched in parts."""
    return sum(
        m.resident
        for m in mappings
        if not m.path and "nr" in m.flags and m.end - m.begin > _THREAD_HEAP
    )


def total() -> int:
    """Resident bytes of the process."""
    return sum(m.resident for m in read_smaps())


def _gpu_free(question: Answer) -> int | None:
    """Bytes that are free on the GPU; None where the CPU computes."""
    if question["options"].get("device", "cpu") == "cpu":
        return None
    from stepguard.bench.gpu import find_gpu  # a host would not import it

    return find_gpu().free


def _load(question: Answer) -> tuple[Guard, float]:
    started = time.perf_counter()
    guard = Guard.load(question["model"], **question["options"])
    return guard, time.perf_counter() - started


def _verdicts(guard: Guard, session: Session, question: Answer) -> Iterator[Verdict]:
    """Reads trajectories one after the other in one session until the context is full."""
    for value in question["trajectories"]:
        for step in Trajectory.from_dict(value).steps:
            if step.is_action:
                yield session.push(step)
            else:
                session.observe(step)
            if guard.stats()["pages_used"] * PAGE_TOKENS >= question["context"]:
                yield session.judge()
                return


def _growth(engine: Engine, prefix: State) -> tuple[int, int]:
    """Bytes of one more State, and of 1,000 more tokens, once what was used before is used up."""
    token = np.zeros(1, np.int32)
    states, sizes = [], []
    for _ in range(_STATES):
        states.append(_kept(engine, prefix, token))
        sizes.append(arena_bytes(read_smaps()))
    # Some may lie where freed pages were: the median of the later ones does not.
    state = int(np.median(np.diff(sizes[_STATES // 2 - 1 :])))
    text = np.zeros(_TOKENS, np.int32)
    end = _kept(engine, prefix, text)
    before = arena_bytes(read_smaps())
    last = engine.submit([Segment(text, end, consume=True)]).wait()[0].state
    grown = arena_bytes(read_smaps()) - before
    del states, last
    return state, grown * 1000 // _TOKENS


def _kept(engine: Engine, parent: State, ids: Any) -> State:
    (result,) = engine.submit([Segment(ids, parent, keep=True)]).wait()
    assert result.state is not None, result.message
    return result.state


TASKS: dict[str, Callable[[Answer], Answer]] = {"parts": parts, "load": load, "run": run}

if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(TASKS[asked["task"]](asked), sys.stdout)
