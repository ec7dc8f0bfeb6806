"""Whatever a caller gets wrong: a named error that says where, what was expected, what was
found and what to do; and the process goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Step
from stepguard.errors import EngineClosed, SessionClosed, TrajectoryError
from tests.export.tiny import SPECIAL
from tests.front.bad_cases import MEMORY
from tests.front.fakes import FakeEngine, make_guard
from tests.front.refused import ACTION, complete


def test_a_closed_session_and_a_closed_guard(small_guards: dict[str, Path]) -> None:
    guard = Guard.load(small_guards["attention"], memory=MEMORY, save_prefix=False)
    closed, open_one = guard.session(), guard.session()
    verdict = open_one.check(ACTION)
    closed.close()
    guard.close()

    def calls(session: Any) -> list[Callable[[], object]]:
        return [
            lambda: session.observe(ACTION),
            lambda: session.check(ACTION),
            lambda: session.check_turn("", ["a"]),
            lambda: session.push(ACTION),
            lambda: session.follow(ACTION),
            lambda: session.peek(ACTION),
            lambda: session.judge(),
        ]

    more = [lambda: closed.commit(verdict), lambda: closed.reject(verdict), closed.fork]
    for call in [*calls(closed), *more]:
        with pytest.raises(SessionClosed) as caught:
            call()
        complete(caught.value)
    moderate = lambda: guard.moderate({"contents": [{"role": "user", "content": "x"}]})  # noqa: E731
    for call in [*calls(open_one), *calls(guard.session()), moderate]:
        with pytest.raises(EngineClosed) as stopped:
            call()
        complete(stopped.value)
    open_one.close()
    guard.close()


def test_content_that_no_tokenizer_expects(small_guards: dict[str, Path]) -> None:
    """Lone surrogates, control tokens, controls: read as text, and never as the template's ids."""
    odd = ["\ud800", "a\udfff\ud800b", *SPECIAL, "\0\x07\x1b[2J", "\ufffe\uffff", "", " \n\t\r"]
    with Guard.load(small_guards["attention"], memory=MEMORY, save_prefix=False) as guard:
        encoder, prompt = guard._reader.encoder, guard.prompt
        control = {id for piece in (*prompt.prefix, *prompt.question) for id in piece.ids}
        assert control
        with guard.session("\ud800" + "".join(SPECIAL)) as session:
            for text in odd:
                for step in (Step.user(text), Step.agent(text, text), Step.environment(text)):
                    verdict = session.push(step)
                    assert verdict.reason is None, (text, verdict.message)
                    ids = encoder.extend(encoder.begin("").border, step).ids
                    assert not control & set(map(int, ids)), text
            assert session.judge().coverage == 1.0
            assert session.judge().neutralised >= len(SPECIAL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"contents": []},
        {"contents": [{"role": "robot", "content": "x"}]},
        {"contents": [{"role": "user"}]},
        {"contents": [{"content": "x"}]},
        {"contents": ["text"]},
        {"contents": 3},
        {"contents": [{"role": "user", "content": "x", 3: 4}]},
        {"profile": 3, "contents": [{"role": "user", "content": "x"}]},
        {},
        [],
        None,
        "text",
    ],
    ids=repr,
)
def test_a_trajectory_of_the_wrong_form(wrong: Any) -> None:
    with pytest.raises(TrajectoryError) as caught:
        make_guard(FakeEngine()).moderate(wrong)
    complete(caught.value)
