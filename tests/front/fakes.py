"""An engine without a model: logits are a hash of all tokens before them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models
from tokenizers import pre_tokenizers as pre

from stepguard.errors import EngineClosed
from stepguard.guard import Guard
from stepguard.judge import Judge
from stepguard.manifest import Manifest
from stepguard.prompt import Encoder, Prompt, build_prompt
from stepguard.reader import Reader
from stepguard.runtime import Segment
from tests.front.manifests import sample

NO_LOGITS = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class FakeState:
    """The tokens themselves."""

    tokens: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, eq=False)
class FakeResult:
    state: FakeState | None = None
    logits: Any = field(default_factory=lambda: NO_LOGITS)
    reason: str = ""
    message: str = ""


def hash_logits(tokens: Sequence[int], rows: Sequence[int]) -> np.ndarray:
    """float32 [rows], from -8 to 8."""
    text = np.asarray(tokens, np.int32).tobytes()
    words = [hashlib.sha256(text + int(row).to_bytes(4, "little")).digest() for row in rows]
    return np.array([int.from_bytes(w[:4], "little") / 2**28 - 8 for w in words], np.float32)


class FakeTicket:
    """Done at once; `wait` may be told to take longer."""

    def __init__(self, results: list[FakeResult], slices: int) -> None:
        self.results, self.slices, self.cancelled = results, slices, False

    def wait(self, timeout: float | None = None) -> list[FakeResult]:
        if self.slices > 0 and timeout is not None:
            self.slices -= 1
            raise TimeoutError
        return self.results

    def cancel(self) -> None:
        self.cancelled = True


class FakeEngine:
    """Like Engine. `failures` are taken by the coming calls: segment number -> reason."""

    isa, threads, kv = "fake", 1, "fp32"

    def __init__(self, context: int = 1 << 20, pages: int = 1 << 12) -> None:
        self.root = FakeState()
        self.failures: list[dict[int, str]] = []
        self.nan = False
        self.slices = 0
        self.calls: list[list[Segment]] = []
        self.context, self.pages = context, pages
        self.tickets: list[FakeTicket] = []
        self.closed = 0
        self._tokens = 0
        self._lock = threading.Lock()

    def submit(self, segments: Sequence[Segment], *, seconds: float | None = None) -> FakeTicket:
        if self.closed:
            raise EngineClosed("this guard", got="a closed one")
        with self._lock:
            self.calls.append(list(segments))
            failing = self.failures.pop(0) if self.failures else {}
            ends: list[FakeState] = []
            results: list[FakeResult] = []
            for index, segment in enumerate(segments):
                result, end = self._run(segment, ends, results, failing.get(index, ""))
                results.append(result)
                ends.append(end)
            self.tickets.append(FakeTicket(results, self.slices))
            return self.tickets[-1]

    def _run(
        self, segment: Segment, ends: list[FakeState], results: list[FakeResult], reason: str
    ) -> tuple[FakeResult, FakeState]:
        assert segment.tokens.dtype == np.int32
        assert len(segment.tokens) or not len(segment.read)
        above = segment.parent
        parent: Any = ends[above] if isinstance(above, int) else above
        tokens = (*parent.tokens, *map(int, segment.tokens))
        reason = reason or (results[above].reason if isinstance(above, int) else "")
        reason = reason or ("overflow" if len(tokens) > self.context else "")
        if reason:
            return FakeResult(reason=reason, message=f"fake {reason}"), parent
        self._tokens += len(segment.tokens)
        end = FakeState(tokens)
        logits = hash_logits(tokens, segment.read)
        if self.nan and len(logits):
            logits[0] = np.nan
        return FakeResult(state=end if segment.keep else None, logits=logits), end

    def stats(self) -> dict[str, float]:
        return {"tokens": self._tokens, "pages_total": self.pages, "pages_used": 0}

    def close(self) -> None:
        self.closed += 1


def byte_tokenizer() -> Tokenizer:
    """A token per byte."""
    letters = sorted(pre.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    return tokenizer


def make_prompt() -> Prompt:
    """Our short prompt, in a chat of the simplest form."""
    chat = "{% for m in messages %}U: {{ m['content'] }}\nA:{% endfor %}"
    return build_prompt("short", chat, {}, byte_tokenizer())


def make_guard(engine: FakeEngine, **changes: object) -> Guard:
    """A guard on a fake engine; `changes` are entries of the manifest."""
    prompt = make_prompt()
    value = {**sample(), "prompt": prompt.to_manifest(), "calibration": {}, **changes}
    manifest = Manifest.from_dict(value)
    encoder = Encoder(prompt, byte_tokenizer())
    judge = Judge.of(manifest, prompt)
    reader = Reader.of(engine, encoder, judge, context=engine.context)  # type: ignore[arg-type]
    return Guard(manifest, prompt, reader)
