"""An engine without a model: logits are a hash of all tokens before them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models
from tokenizers import pre_tokenizers as pre

from stepguard.diagnose import Asker
from stepguard.errors import EngineClosed
from stepguard.escalation import Escalation
from stepguard.guard import Guard
from stepguard.heads import HEAD
from stepguard.judge import Judge
from stepguard.manifest import Manifest
from stepguard.prompt import Encoder, Prompt, build_prompt
from stepguard.rationale import Rationale
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
    next: int = -1
    next_score: float = 0.0


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

    isa, threads, kv, activations, writes = "fake", 1, "fp32", "fp32", True
    device = "cpu"

    def __init__(self, context: int = 1 << 20, pages: int = 1 << 12) -> None:
        self.root = FakeState()
        self.failures: list[dict[int, str]] = []
        self.nan = False
        self.slices = 0
        self.calls: list[list[Segment]] = []
        self.context, self.pages = context, pages
        self.tickets: list[FakeTicket] = []
        self.closed = 0
        self.script: Callable[[tuple[int, ...]], int] = lambda path: path[-1]
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
        kept = end if segment.keep or segment.consume else None
        token = self.script(tokens) if segment.next else -1
        return FakeResult(state=kept, logits=logits, next=token), end

    def stats(self) -> dict[str, float]:
        return {"tokens": self._tokens, "pages_total": self.pages, "pages_used": 0}

    def close(self) -> None:
        self.closed += 1


def byte_tokenizer() -> Tokenizer:
    """A token per byte."""
    letters = sorted(pre.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def make_prompt() -> Prompt:
    """Our short prompt, in a chat of the simplest form."""
    chat = "{% for m in messages %}U: {{ m['content'] }}\nA:{% endfor %}"
    return build_prompt("short", chat, {}, byte_tokenizer())


FAKE_SETTINGS = {"kv": "fp32", "activations": "fp32"}
THINK = {"<think>": 301, "</think>": 302}
END = 300


WRITING = "Judge:\n<LOG>\n{formatted_trajectory}\n</LOG>\nAnswer."


def writing_prompt(answer: str, template: str = WRITING, **options: Any) -> Prompt:
    """A prompt for a form of answers, in a chat with special tokens that knows thoughts."""
    chat = (
        "{% for m in messages %}U: {{ m['content'] }}<end>\nA:{% endfor %}"
        "{% if enable_thinking %}<think>\n{% endif %}"
    )
    special = {"<end>": END, **THINK}
    return build_prompt(
        template, chat, special, byte_tokenizer(), answer=answer, rationale=True, **options
    )


def make_guard(
    engine: FakeEngine,
    prompt: Prompt | None = None,
    limit: int | None = None,
    escalates: bool = False,
    asker: Asker | None = None,
    **changes: object,
) -> Guard:
    """A guard on a fake engine; `changes` are entries of the manifest."""
    prompt = prompt or make_prompt()
    origin = {**sample()["origin"], "adapter": None}
    bare = {"prompt": prompt.to_manifest(), "calibration": [], "heads": {}, "origin": origin}
    value = {**sample(), **bare, **changes}
    manifest = Manifest.from_dict(value)
    encoder = Encoder(prompt, byte_tokenizer())
    judge = Judge.of(manifest, prompt, **FAKE_SETTINGS)
    rationale = Rationale(prompt, byte_tokenizer()) if "rationale" in prompt.modes else None
    reader = Reader.of(
        engine,  # type: ignore[arg-type]
        encoder,
        judge,
        context=engine.context,
        rationale=rationale,
        limit=limit,
        asker=asker,
    )
    if not escalates or reader.written is None:
        return Guard(manifest, prompt, reader)
    slow = prompt.in_mode("rationale")
    second = Encoder(slow, byte_tokenizer()), Judge.of(manifest, slow, **FAKE_SETTINGS)
    return Guard(manifest, prompt, reader, Escalation(reader, reader.written, *second))


def calibrated(prompt: Prompt, mode: str, scale: float, bias: float) -> list[dict[str, Any]]:
    """The manifest's calibration of one mode: unsure from 0.4 to 0.6."""
    plain = make_guard(FakeEngine(), prompt)
    entry = {**sample()["calibration"][0], **FAKE_SETTINGS, "mode": mode, "knots": []}
    asked = (prompt if mode == HEAD else prompt.in_mode(mode)).asked
    entry |= {"model": plain.manifest.sha256, "prompt": asked, "scale": scale, "bias": bias}
    return [entry]


def asked_paths(engine: FakeEngine) -> list[list[int]]:
    """The tokens before every answer of the engine's last call."""
    paths: list[list[int]] = []
    asked: list[list[int]] = []
    for segment in engine.calls[-1]:
        above = segment.parent
        before = paths[above] if isinstance(above, int) else list(above.tokens)  # type: ignore[attr-defined]
        paths.append([*before, *map(int, segment.tokens)])
        if len(segment.read):
            asked.append(paths[-1])
    return asked


def asked_texts(engine: FakeEngine) -> list[str]:
    """The same as text: what the model saw before every answer."""
    letters = {i: letter for letter, i in byte_tokenizer().get_vocab().items()}
    decoder = decoders.ByteLevel()
    return [decoder.decode([letters.get(i, "") for i in path]) for path in asked_paths(engine)]
