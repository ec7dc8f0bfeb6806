"""Recurrent slots of hybrid models: who has one, who hands it on, and what happens without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stepguard import Guard, Step, Trajectory
from stepguard.runtime import Engine, Segment, State

Ids = npt.NDArray[np.int32]
ROWS = np.array([1, 5, 9], np.int32)
TEXT = np.random.default_rng(3).integers(0, 200, 2000).astype(np.int32)
QUESTION = np.array([7, 8, 9, 10, 11], np.int32)
ORT = os.environ.get("STEPGUARD_TEST_ORT")


def open_engine(folder: Path, memory: int = 16 << 20, chunk: int = 512) -> Engine:
    return Engine(folder, threads=1, memory=memory, chunk=chunk, ort_library=ORT)


@pytest.fixture
def engine(hybrid_models: dict[str, Path]) -> Iterator[Engine]:
    engine = open_engine(hybrid_models["int8"])
    yield engine
    engine.close()


def least_memory(folder: Path) -> int:
    """Bytes of three slots and their pages, as the refusal of less names them."""
    with pytest.raises(ValueError, match="three recurrent slots") as caught:
        open_engine(folder, memory=1)
    return int(str(caught.value).split("at least ")[1].split()[0])


def memory_for(folder: Path, slots: int, chunk: int = 512) -> int:
    """Bytes that give an engine so many slots."""
    least = least_memory(folder)
    for memory in range(least, 100 * least, least // 10):
        engine = open_engine(folder, memory, chunk)
        found = engine.stats()["slots_total"]
        engine.close()
        if found >= slots:
            return memory
    raise AssertionError("no memory is enough")


def small(hybrid_models: dict[str, Path], slots: int) -> Engine:
    """An engine with this many slots."""
    folder = hybrid_models["int8"]
    engine = open_engine(folder, memory_for(folder, slots))
    assert engine.stats()["slots_total"] == slots
    return engine


def kept(engine: Engine, parent: State, ids: Ids, *, consume: bool = False) -> State:
    result = engine.submit([Segment(ids, parent, keep=True, consume=consume)]).wait(60)[0]
    assert result.reason == "", result.message
    assert result.state is not None
    return result.state


def read(engine: Engine, parent: State, ids: Ids = QUESTION) -> bytes:
    result = engine.submit([Segment(ids, parent, read=ROWS)]).wait(60)[0]
    assert result.reason == "", result.message
    return result.logits.tobytes() + result.hidden.tobytes()


def alone(engine: Engine, *parts: Ids) -> bytes:
    return read(engine, engine.root, np.concatenate(parts))


def slots(engine: Engine) -> float:
    return engine.stats()["slots_used"]


def test_only_what_is_kept_has_a_slot(engine: Engine) -> None:
    assert slots(engine) == 0
    first = kept(engine, engine.root, TEXT[:40])
    second = kept(engine, first, TEXT[40:60])
    assert slots(engine) == 2
    read(engine, second)
    engine.submit([Segment(TEXT[:9], second), Segment(QUESTION, 0, read=ROWS)]).wait(60)
    assert slots(engine) == 2
    del first
    assert slots(engine) == 1
    del second
    assert slots(engine) == 0


def test_a_consume_chain_copies_nothing(engine: Engine) -> None:
    expected = alone(engine, TEXT[:300], QUESTION)
    copied = engine.stats()["tokens_copied"]
    state = kept(engine, engine.root, TEXT[:1])
    for place in range(1, 300):
        state = kept(engine, state, TEXT[place : place + 1], consume=True)
        stats = engine.stats()
        assert stats["slots_used"] == 1
        assert stats["pages_used"] == place // 32 + 1
    assert engine.stats()["tokens_copied"] == copied
    assert read(engine, state) == expected


def test_a_consumed_state_is_refused_by_name(engine: Engine) -> None:
    parent = kept(engine, engine.root, TEXT[:40])
    state = kept(engine, parent, TEXT[40:50], consume=True)
    for segment in (
        Segment(QUESTION, parent, read=ROWS),
        Segment(QUESTION, parent, keep=True),
        Segment(QUESTION, parent, consume=True),
    ):
        with pytest.raises(ValueError, match="segment 0: its parent was consumed"):
            engine.submit([segment])
    assert read(engine, state) == alone(engine, TEXT[:50], QUESTION)


def test_what_others_hold_is_not_consumed(engine: Engine) -> None:
    """A segment without tokens shares the slot of its parent, which goes on unchanged."""
    parent = kept(engine, engine.root, TEXT[:40])
    same = kept(engine, parent, TEXT[:0])
    state = kept(engine, same, TEXT[40:50], consume=True)
    assert read(engine, parent) == alone(engine, TEXT[:40], QUESTION)
    assert read(engine, state) == alone(engine, TEXT[:50], QUESTION)
    results = engine.submit([Segment(TEXT[:0], parent), Segment(TEXT[60:70], 0, keep=True)]).wait(
        60
    )
    assert results[1].state is not None
    assert read(engine, parent) == alone(engine, TEXT[:40], QUESTION)
    assert read(engine, results[1].state) == alone(engine, TEXT[:40], TEXT[60:70], QUESTION)


def test_full_slots_are_a_reason_and_lose_nothing(hybrid_models: dict[str, Path]) -> None:
    engine = small(hybrid_models, 3)
    try:
        states = [kept(engine, engine.root, TEXT[n : n + 5]) for n in range(3)]
        result = engine.submit([Segment(QUESTION, states[0], keep=True)]).wait(60)[0]
        assert result.reason == "memory"
        assert "no recurrent slot is free (3 in all)" in result.message
        read(engine, states[0])  # a question needs none
        states[1] = kept(engine, states[1], TEXT[6:9], consume=True)  # nor does this
        del states[2], result
        grown = kept(engine, states[0], QUESTION)
        assert read(engine, grown) == alone(engine, TEXT[:5], QUESTION, QUESTION)
        assert read(engine, states[1]) == alone(engine, TEXT[1:9], QUESTION)
    finally:
        engine.close()


def test_a_branch_that_waits_for_itself_ends(hybrid_models: dict[str, Path]) -> None:
    """The parent's slot is free only after both children started, and the first finds none.

    It fails; the second is then the last that needs the parent, and takes over its slot.
    """
    engine = small(hybrid_models, 3)
    try:
        states = [kept(engine, engine.root, TEXT[n : n + 5]) for n in range(2)]
        segments = [Segment(TEXT[:9], engine.root)]
        segments += [Segment(TEXT[n : n + 2], 0, keep=True) for n in range(2)]
        results = engine.submit(segments).wait(20)
        assert [result.reason for result in results] == ["", "memory", ""]
        second = results[2].state
        assert second is not None
        assert slots(engine) == 3
        assert read(engine, second) == alone(engine, TEXT[:9], TEXT[1:3], QUESTION)
        del results, second
        assert slots(engine) == 2
        assert read(engine, states[1]) == alone(engine, TEXT[1:6], QUESTION)
    finally:
        engine.close()


def test_a_consumed_state_survives_full_pages(hybrid_models: dict[str, Path]) -> None:
    engine = open_engine(hybrid_models["int8"], memory=1 << 20)
    try:
        parent, hogs = kept(engine, engine.root, TEXT[:40]), []
        while True:
            result = engine.submit([Segment(TEXT, engine.root, keep=True)]).wait(60)[0]
            if result.reason:
                break
            hogs.append(result.state)
        result = engine.submit([Segment(TEXT, parent, consume=True)]).wait(60)[0]
        assert result.reason == "memory"
        assert "no KV page is free" in result.message
        hogs.pop()  # the question writes where the failed segment wrote, on a copy of the page
        assert read(engine, parent) == alone(engine, TEXT[:40], QUESTION)
    finally:
        engine.close()


def test_two_thousand_single_tokens(engine: Engine) -> None:
    segments = [Segment(TEXT[:1], engine.root)]
    segments += [Segment(TEXT[n : n + 1], n - 1) for n in range(1, 1999)]
    segments.append(Segment(TEXT[1999:], 1998, keep=True, read=ROWS))
    end = engine.submit(segments).wait(120)[-1]
    assert end.reason == "", end.message
    assert np.isfinite(end.logits).all()
    assert end.logits.tobytes() + end.hidden.tobytes() == alone(engine, TEXT)
    assert end.state is not None
    assert read(engine, end.state) == alone(engine, TEXT, QUESTION)
    assert slots(engine) == 1


def test_a_trajectory_may_have_more_actions_than_there_are_slots(
    hybrid_models: dict[str, Path],
) -> None:
    folder = hybrid_models["int8"]
    steps = [Step.user("go on")] + [Step.agent(action=f"tool{{{n}}}") for n in range(18)]
    memory = memory_for(folder, 12, chunk=16)
    with Guard.load(folder, memory=memory, chunk=16, ort_library=ORT) as guard:
        assert guard.stats()["slots_total"] == 12
        with guard.session("p") as session:
            session.observe(steps[0])
            pushed = [session.push(step) for step in steps[1:]]
        at_once = guard.moderate(Trajectory("p", tuple(steps)))
    assert [verdict.message for verdict in pushed] == [""] * 18
    assert [verdict.message for verdict in at_once] == [""] * 18
    assert [verdict.margin for verdict in at_once] == [verdict.margin for verdict in pushed]
    assert [verdict.tokens_read for verdict in at_once[1:]] == [
        verdict.tokens_read for verdict in pushed[1:]
    ]
