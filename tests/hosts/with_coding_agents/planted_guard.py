"""A resident guard whose verdicts are planted in the text, as a program of its own.

    python -m tests.hosts.with_coding_agents.planted_guard SOCKET [SECONDS [POLICY]]

Everything of it is the real server but the model: a trajectory that holds "PLANTED-UNSAFE", or both
"PLANTED-LEFT" and "PLANTED-RIGHT", is unsafe. SECONDS is how long every verdict
takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import decoders

from stepguard.policy import read_policy
from stepguard.prompt import Prompt
from stepguard.runtime import Segment
from stepguard.server import Settings, unix_socket
from stepguard.server.run import serve
from tests.front.fakes import (
    FakeEngine,
    FakeResult,
    FakeState,
    FakeTicket,
    byte_tokenizer,
    make_guard,
    make_prompt,
)

UNSAFE, LEFT, RIGHT = "PLANTED-UNSAFE", "PLANTED-LEFT", "PLANTED-RIGHT"
_SURE = 6.0


class PlantedEngine(FakeEngine):
    """Reads bytes, and gives the labels of what is planted in them."""

    def __init__(self, prompt: Prompt, seconds: float = 0.0) -> None:
        super().__init__()
        self._unsafe = {spelling.path[0] for spelling in prompt.labels["unsafe"]}
        self._letters = {i: letter for letter, i in byte_tokenizer().get_vocab().items()}
        self._decoder = decoders.ByteLevel()
        self._seconds = seconds

    def submit(self, segments: Sequence[Segment], **options: Any) -> FakeTicket:
        ticket = super().submit(segments, **options)
        if not any(len(segment.read) for segment in segments):
            return ticket
        answer = ticket.wait

        def wait(timeout: float | None = None) -> Any:
            time.sleep(self._seconds if timeout is None else min(timeout, self._seconds))
            if timeout is not None and timeout < self._seconds:
                raise TimeoutError
            return answer(timeout)

        ticket.wait = wait  # type: ignore[method-assign]
        return ticket

    def _run(
        self, segment: Segment, ends: list[FakeState], results: list[FakeResult], reason: str
    ) -> tuple[FakeResult, FakeState]:
        result, end = super()._run(segment, ends, results, reason)
        if len(result.logits):
            sign = 1.0 if self.is_unsafe(self._decoder.decode(self._spelled(end))) else -1.0
            for place, row in enumerate(segment.read):
                result.logits[place] = np.float32(sign if row in self._unsafe else -sign) * _SURE
        return result, end

    def _spelled(self, end: FakeState) -> list[str]:
        return [self._letters.get(token, "") for token in end.tokens]

    @staticmethod
    def is_unsafe(text: str) -> bool:
        """What is planted in a text."""
        return UNSAFE in text or (LEFT in text and RIGHT in text)


def main(words: list[str]) -> None:
    """Serves until it is killed."""
    prompt = make_prompt()
    engine = PlantedEngine(prompt, float(words[1]) if len(words) > 1 else 0.0)
    policy = read_policy(words[2]) if len(words) > 2 else None
    with make_guard(engine, prompt) as guard, unix_socket(Path(words[0]), shared=False) as listener:
        serve(guard, Settings(), listener, lambda: print("listening", flush=True), policy)


if __name__ == "__main__":
    main(sys.argv[1:])
