"""Whatever a caller or a file gets wrong: a named error or a status that says where, what was
expected, what was found and what to do; and the process goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from stepguard import Guard, Reason, Step
from stepguard.errors import (
    EngineClosed,
    RuntimeMissingError,
    SessionClosed,
    StepguardError,
    TrajectoryError,
)
from stepguard.export import export_model
from stepguard.manifest import load
from stepguard.runtime import _library
from tests.export.tiny import SPECIAL, make_checkpoint
from tests.front.bad_cases import CASES, CHANGES, MEMORY
from tests.front.fakes import FakeEngine, make_guard

ROOT = Path(__file__).resolve().parents[2]
ACTION = Step.agent(thought="", action="call()")


def complete(error: StepguardError) -> None:
    """All four parts are there, and in the text."""
    for part in (error.where, error.expected, error.got, error.fix):
        assert part
        assert part in str(error)


def python(*words: str | Path, **environment: str) -> str:
    """What a Python process prints that must end well."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-300:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def found(
    small_guards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What became of every case, all of them in one process that lived to the end."""
    work = tmp_path_factory.mktemp("bad")
    words = ("-m", "tests.front.bad_cases", small_guards["attention"], work)
    lines = python(*words, XDG_CACHE_HOME=str(work / "cache")).splitlines()
    reports = [json.loads(line) for line in lines]
    return {report["case"]: report for report in reports if "case" in report}


@pytest.mark.parametrize("name", CASES)
def test_a_model_directory_that_is_wrong(found: dict[str, dict[str, Any]], name: str) -> None:
    report, (_, kind, text) = found[name], CASES[name]
    assert report["kind"] == kind
    assert text in report["text"]
    for part in ("where", "expected", "got", "fix"):
        assert report[part], part


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_after_it_was_loaded(
    found: dict[str, dict[str, Any]], name: str
) -> None:
    report = found[name]
    assert report["kind"] == "verdict"
    assert report["before"] == "None"  # it did answer
    assert report["reason"] == "internal"
    file = name.split()[-1]
    message = report["message"]
    assert f"{file} changed after it was loaded: expected the same file of" in message
    for part in ("bytes, got ", "Load the guard again"):
        assert part in message


def test_the_process_goes_on(found: dict[str, dict[str, Any]]) -> None:
    assert found["the good one"]["reason"] == "None"
    assert len(found) == len(CASES) + len(CHANGES) + 1


def test_a_number_that_is_none_in_one_row(tmp_path: Path) -> None:
    """Only who reads it gets no answer; what was read without it still counts."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "llama", 3, max_position_embeddings=2048)
    model = tmp_path / "model"
    export_model(checkpoint, model, quant="float32", template="short")
    with Guard.load(model, memory=MEMORY, save_prefix=False) as guard:
        encoder = guard._reader.encoder
        plain, bad = Step.agent("", "call()"), Step.agent("", "call(~ some more words)")
        begin = encoder.begin("").border
        harmless = {*encoder.prefix_ids, *encoder.extend(begin, plain).ids}
        (row, *_) = set(map(int, encoder.extend(begin, bad).ids)) - set(map(int, harmless))
    spoil(model, row)
    with Guard.load(model, memory=MEMORY, save_prefix=False) as guard, guard.session() as session:
        expected = session.push(plain).margin
        for _ in range(2):
            verdict = session.check(bad)
            assert verdict.reason is Reason.NUMERIC
            assert not verdict.allowed
            session.reject(verdict)
        assert session.judge().margin == expected
        assert session.push(bad).reason is Reason.NUMERIC
        assert session.push(plain).reason is Reason.NUMERIC  # it is part of the trajectory now
        assert guard.session().push(plain).margin == expected


def spoil(model: Path, row: int) -> None:
    from tests.front.bad_cases import sign

    graph = onnx.load(model / "model.onnx", load_external_data=False)
    table = next(t for t in graph.graph.initializer if t.name == "embedding.table")
    place = {entry.key: entry.value for entry in table.external_data}
    width = int(table.dims[1])
    with (model / place["location"]).open("r+b") as file:
        file.seek(int(place["offset"]) + row * width * 4)
        file.write(np.full(width, np.nan, np.float32).tobytes())
    sign(model)


@pytest.mark.parametrize(
    ("wheels", "got"),
    [
        ({}, "none"),
        (
            {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.0"},
            "onnxruntime 1.32.0, onnxruntime-gpu 1.31.0",
        ),
        ({"onnxruntime-gpu": "1.31.0"}, "none"),  # its files are gone
    ],
    ids=["neither", "both", "damaged"],
)
def test_onnx_runtime_is_not_there_as_it_should(
    small_guards: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wheels: dict[str, str],
    got: str,
) -> None:
    def version(name: str) -> str:
        if name in wheels:
            return wheels[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(_library.metadata, "version", version)
    monkeypatch.setattr(_library, "_package_folder", lambda: tmp_path)
    with pytest.raises(RuntimeMissingError) as caught:
        Guard.load(small_guards["attention"], memory=MEMORY, save_prefix=False)
    complete(caught.value)
    assert caught.value.got == got
    assert "pip install" in caught.value.fix


def least_memory(model: Path) -> int:
    """Bytes of four KV pages and a small forward, as the refusal of less names them."""
    with pytest.raises(
        ValueError, match=r"^memory: expected at least \d+ bytes .*, got 1$"
    ) as caught:
        Guard.load(model, memory=1, save_prefix=False)
    return int(str(caught.value).split()[4])


def test_memory_for_less_than_the_prompt(small_guards: dict[str, Path]) -> None:
    model = small_guards["attention"]
    text = "expected room for the prompt's 208 tokens, got 5 pages of 32. Give more bytes"
    with pytest.raises(ValueError, match=r"^memory: ") as caught:
        Guard.load(model, memory=least_memory(model) + page_bytes(model), save_prefix=False)
    assert text in str(caught.value)


@pytest.mark.parametrize("window", ["strict", "window"])
def test_memory_for_little_more_than_the_prompt(small_guards: dict[str, Path], window: Any) -> None:
    model = small_guards["attention"]
    memory = least_memory(model) + 4 * page_bytes(model)
    with Guard.load(model, memory=memory, save_prefix=False) as guard:
        assert guard.stats()["pages_total"] == 8
        with guard.session(window=window) as session:
            for text in ("a", "many words " * 50, "b"):
                verdict = session.push(Step.user(text))
                assert verdict.reason in (None, Reason.MEMORY, Reason.OVERFLOW)
        assert guard.session().judge().reason in (None, Reason.MEMORY)


def page_bytes(model: Path) -> int:
    """Of one KV page, in all layers."""
    a = load(model).architecture
    return 2 * 2 * 32 * a.kv_heads * a.head_dim * a.attention_layers


def test_two_processes_on_one_directory(small_guards: dict[str, Path], tmp_path: Path) -> None:
    """At the same time, with an empty cache: each answers, with the same bits, and nothing of it
    hinders the next."""
    code = (
        "import sys\nfrom stepguard import Guard, Step\nprint('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "with Guard.load(sys.argv[1], memory=16 << 20) as guard:\n"
        "    print(guard.session().push(Step.agent('', 'call()')).margin.hex())\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(small_guards["attention"])],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        print(file=process.stdin, flush=True)
    answers = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in answers] == ["", ""]
    with Guard.load(small_guards["attention"], memory=MEMORY, save_prefix=False) as guard:
        margin = guard.session().push(ACTION).margin
    assert margin is not None
    assert [float.fromhex(out) for out, _ in answers] == [margin] * 2
    assert len(list((tmp_path / "stepguard" / "prefix").iterdir())) == 1


FORKED = """
import os, sys
from stepguard import Guard, Step
from stepguard.errors import ForkedProcessError
step = Step.agent("", "call()")
guard = Guard.load(sys.argv[1], memory=16 << 20, save_prefix=False, threads=2)
session = guard.session()
verdict = session.check(step)
child = os.fork()
if child == 0:
    calls = [
        lambda: session.push(step), lambda: session.observe(step), lambda: session.peek(step),
        lambda: session.judge(), lambda: session.check_turn("", ["a"]), lambda: session.fork(),
        lambda: session.commit(verdict), lambda: session.reject(verdict), lambda: guard.stats(),
        lambda: guard.session(),
        lambda: guard.moderate({"contents": [{"role": "user", "content": "x"}]}),
    ]
    for call in calls:
        try:
            call()
            print("no error")
        except ForkedProcessError as error:
            print(bool(error.where and error.expected and error.got and error.fix))
    session.close()
    guard.close()
    sys.exit(0)  # as any program ends
assert os.waitpid(child, 0)[1] == 0
session.commit(verdict)
print("parent", session.push(step).reason)
"""


def test_a_child_of_fork_is_told_at_its_first_call(small_guards: dict[str, Path]) -> None:
    lines = python("-c", FORKED, small_guards["attention"]).splitlines()
    assert lines == ["True"] * 11 + ["parent None"]


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
