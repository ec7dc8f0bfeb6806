"""The process of one engine: answers a line of JSON with a line of JSON."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from stepguard.bench.latency.peer import Ids, Peer, Profiled, Setting, make_peer
from stepguard.bench.smaps import peak_resident, resident
from stepguard.heap import give_back

_held: list[Tokenizer] = []  # a host has one beside its engine, so its memory counts


def main() -> int:
    """Reads calls from standard input until it ends."""
    # Engines print what they like: the answers go to a copy of standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    peer: Peer | None = None
    for line in sys.stdin:
        try:
            call = json.loads(line)
            if call["do"] == "load":
                peer, answer = load(call)
            else:
                assert peer is not None  # the first call loads
                answer = act(peer, call)
        except Exception as error:
            missing = isinstance(error, ImportError)
            if not missing:
                traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}", "missing": missing}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


def load(call: dict[str, Any]) -> tuple[Peer, dict[str, Any]]:
    """The engine, and its version."""
    setting = Setting(
        Path(call["files"]), _ids(call["rows"]), call["threads"], call["room"], call["options"]
    )
    peer = make_peer(call["name"], setting)
    if call["tokenizer"]:
        _held.append(Tokenizer.from_file(call["tokenizer"]))
    return peer, {"version": peer.version, "ways": peer.ways}


def act(peer: Peer, call: dict[str, Any]) -> dict[str, Any]:
    """One call of a Peer."""
    if call["do"] == "read":
        peer.read(_ids(call["ids"]))
        return {}
    if call["do"] == "profile":
        assert isinstance(peer, Profiled)  # only ours is asked
        return peer.profile(_ids(call["ids"]), _ids(call["question"]))
    if call["do"] == "resident":
        give_back()
        return {"resident": resident(), "peak": peak_resident()}
    if call["do"] == "add":
        peer.add(_ids(call["ids"]))
        return {}
    if call["do"] == "rounds":
        return act_rounds(peer, call)
    if call["do"] == "step":
        elapsed, logits = peer.step(_ids(call["ids"]), _ids(call["question"]))
    else:
        elapsed, logits = peer.again(_ids(call["ids"]))
    return {"ms": elapsed, "logits": np.asarray(logits, np.float64).tolist()}


def act_rounds(peer: Peer, call: dict[str, Any]) -> dict[str, Any]:
    """Rounds of several sessions."""
    steps = [_ids(step) for step in call["steps"]]
    question, long = _ids(call["question"]), _ids(call["long"])
    done = peer.rounds(call["way"], steps, question, call["count"], long)
    return {
        "elapsed": done.elapsed,
        "latencies": done.latencies,
        "logits": np.asarray(done.logits, np.float64).tolist(),
    }


def _ids(values: list[int]) -> Ids:
    return np.array(values, np.int32)


if __name__ == "__main__":
    raise SystemExit(main())
