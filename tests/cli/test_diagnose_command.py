"""stepguard moderate --diagnose: every label's probability, and lines that no verdict waits for."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepguard.audit import AuditLog
from stepguard.cli import stream
from stepguard.errors import AuditError, TaxonomyError
from stepguard.guard import Guard
from stepguard.taxonomy import GuardId, Status, Verdict
from tests.cli.ran import Ran
from tests.front.diagnosable import TAXONOMY, make_diagnosable
from tests.front.fakes import FakeEngine, make_guard
from tests.front.test_guard import TRAJECTORY

Run = Callable[..., Ran]
Answering = Callable[..., None]
STEPS = [step for part in TRAJECTORY["contents"] for step in part]
LINES = [json.dumps({"profile": TRAJECTORY["profile"]}), *map(json.dumps, STEPS)]
ORDER = ["risk_source", "failure_mode", "real_world_harm"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trajectory.json"
    path.write_text(json.dumps(TRAJECTORY))
    return path


@pytest.fixture
def loaded(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of the guards that commands load, which have labels."""
    options: list[dict[str, Any]] = []

    def load(_: str, **given: Any) -> Guard:
        options.append(given)
        return make_diagnosable(engine)

    monkeypatch.setattr(Guard, "load", load)
    return options


def test_json_has_every_label(
    run: Run, loaded: list[dict[str, Any]], answering: Answering, file: Path
) -> None:
    answering("safe", "unsafe")
    ran = run("moderate", "model", file, "--json", "--diagnose", "--taxonomy", "T")
    assert (ran.status, loaded[0]["taxonomy"]) == (10, "T")
    safe, unsafe = json.loads(ran.out)["trajectories"][0]["verdicts"]
    assert safe["diagnosis"] is None
    diagnosis = unsafe["diagnosis"]
    assert diagnosis["order"] == ORDER
    for label in TAXONOMY.labels:
        assert 0 <= diagnosis[label.dimension][label.id] <= 1
    page = run("moderate", "--help").out.partition("keys of a diagnosis")[2]
    assert set(diagnosis) <= set(re.findall(r"[a-z_]+", page))


def test_the_table_names_the_likeliest(
    run: Run, loaded: list[dict[str, Any]], answering: Answering, file: Path
) -> None:
    answering("safe", "unsafe")
    out = run("moderate", "model", file, "--diagnose").out
    found = re.findall(r"^ *5 +(\w+) +([\w-]+) +0\.\d{3} +[01]\.\d{3}$", out, re.MULTILINE)
    assert [dimension for dimension, _ in found] == ORDER
    assert all(label.startswith(dimension) for dimension, label in found)
    answering("safe", "unsafe")
    assert "real_world_harm" not in run("moderate", "model", file).out


def test_what_could_not_be_read_is_said(
    run: Run,
    loaded: list[dict[str, Any]],
    answering: Answering,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering("unsafe")
    monkeypatch.setattr("stepguard.diagnose.outside", lambda *_: float("nan"))
    out = run("moderate", "model", file, "--diagnose").out
    assert re.search(r"5 +unavailable +numeric: a label logit is not a finite number", out)


def test_a_guard_without_labels(run: Run, engine: FakeEngine, file: Path) -> None:
    ran = run("moderate", "model", file, "--diagnose")
    assert ran.status == 1
    assert "Export again with --taxonomy FILE" in ran.err
    with pytest.raises(TaxonomyError, match="Export again with --taxonomy FILE"):
        stream.moderate(make_guard(FakeEngine()), [], io.StringIO(), True)


def test_lines_of_a_stream(answering: Answering) -> None:
    guard, out = make_diagnosable(FakeEngine()), io.StringIO()
    answering("unsafe")
    lines = [line.encode() for line in LINES]
    verdicts = stream.moderate(guard, lines, out, True)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    steps = [line["step"] for line in found if "status" in line]
    assert steps == [verdict.step for verdict in verdicts] == [1, 5]
    assert all(line["diagnosis"] is None for line in found if "status" in line)
    diagnosed = [line["diagnosis"] for line in found if "status" not in line]
    assert [diagnosis["step"] for diagnosis in diagnosed] == [1, 5]
    assert all(diagnosis["complete"] for diagnosis in diagnosed)
    plain = io.StringIO()
    stream.moderate(guard, lines, plain)
    assert len(plain.getvalue().splitlines()) == 2


def sure(status: Status) -> Verdict:
    return Verdict(status=status, guard=GuardId("m", "p"), mode="first_token", coverage=1.0)


@pytest.fixture(params=[Status.UNSAFE, Status.SAFE])
def larger(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Status:
    """What a larger guard says of the only verdict, which is unsure."""

    def moderate_many(*_: object, **__: object) -> list[list[Verdict]]:
        answer = Future[Verdict]()
        answer.set_result(sure(request.param))
        return [[replace(sure(Status.UNSURE), step=1, second=answer)]]

    monkeypatch.setattr(Guard, "moderate_many", moderate_many)
    return Status(request.param)


def test_what_a_larger_guard_says_counts(
    larger: Status, run: Run, loaded: list[dict[str, Any]], file: Path
) -> None:
    ran = run("moderate", "model", file, "--larger", "big", "--json")
    assert ran.status == {Status.UNSAFE: 10, Status.SAFE: 0}[larger]
    assert loaded[0]["larger"] == "big"
    assert json.loads(ran.out)["trajectories"][0]["verdicts"][0]["second"]["status"] == larger


def test_the_table_shows_the_larger_guard(
    larger: Status, run: Run, loaded: list[dict[str, Any]], file: Path
) -> None:
    out = run("moderate", "model", file, "--larger", "big").out
    assert f"unsure (larger: {larger})" in out


def test_a_larger_guard_in_a_stream() -> None:
    out, answer = io.StringIO(), Future[Verdict]()
    with stream.Writer(out) as say:
        say.verdict(replace(sure(Status.UNSURE), second=answer))
        assert json.loads(out.getvalue())["second"] is None
        answer.set_result(sure(Status.UNSAFE))
    assert json.loads(out.getvalue().splitlines()[1])["second"]["status"] == "unsafe"


@pytest.fixture
def full_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full after one line."""
    write, left = os.write, [1]

    def once(handle: int, data: bytes) -> int:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left.pop()
        return write(handle, data)

    monkeypatch.setattr("stepguard.audit.log.os.write", once)


def logged(path: Path) -> list[tuple[str, str | None]]:
    """The status of every line, and what call it was."""
    found = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    return [(line["verdict"]["status"], line["about"].get("call")) for line in found]


def test_what_a_larger_guard_says_is_logged(
    larger: Status, run: Run, loaded: list[dict[str, Any]], file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    ran = run("moderate", "model", file, "--larger", "big", "--audit", log)
    assert ran.status == {Status.UNSAFE: 10, Status.SAFE: 0}[larger]
    assert logged(log) == [("unsure", None), (larger.value, "second")]


def test_what_a_larger_guard_says_is_logged_or_not_said(
    larger: Status,
    run: Run,
    loaded: list[dict[str, Any]],
    file: Path,
    tmp_path: Path,
    full_later: None,
) -> None:
    ran = run("moderate", "model", file, "--larger", "big", "--audit", tmp_path / "log")
    assert (ran.status, ran.out) == (1, "")
    assert "stepguard: AuditError: " in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_larger_guard_in_a_stream_is_logged(tmp_path: Path) -> None:
    out, answer = io.StringIO(), Future[Verdict]()
    with AuditLog(tmp_path / "log") as log, stream.Writer(out, log) as say:
        say.verdict(replace(sure(Status.UNSURE), second=answer))
        answer.set_result(sure(Status.UNSAFE))
    assert logged(tmp_path / "log") == [("unsure", None), ("unsafe", "second")]


def test_a_larger_guard_in_a_stream_is_logged_or_not_said(tmp_path: Path, full_later: None) -> None:
    out, answer = io.StringIO(), Future[Verdict]()
    with (
        AuditLog(tmp_path / "log") as log,
        pytest.raises(AuditError, match="No space left"),
        stream.Writer(out, log) as say,
    ):
        say.verdict(replace(sure(Status.UNSURE), second=answer))
        answer.set_result(sure(Status.UNSAFE))
    assert len(out.getvalue().splitlines()) == 1


class Broken(io.StringIO):
    """A pipe that nobody reads any more, after the first line."""

    def write(self, text: str) -> int:
        if self.tell():
            raise BrokenPipeError
        return super().write(text)


def test_a_broken_pipe_is_not_lost(answering: Answering) -> None:
    answering("unsafe")
    with pytest.raises(BrokenPipeError):
        stream.moderate(
            make_diagnosable(FakeEngine()), [line.encode() for line in LINES[:3]], Broken(), True
        )
