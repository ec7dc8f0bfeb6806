"""stepguard moderate, on files."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stepguard import Guard
from stepguard.cli import moderate
from stepguard.cli import progress as cli_progress
from tests.cli.ran import Ran
from tests.front.fakes import FakeEngine
from tests.front.test_guard import TALK, TRAJECTORY

Run = Callable[..., Ran]
Answering = Callable[..., None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trajectory.json"
    path.write_text(json.dumps(TRAJECTORY))
    return path


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (("safe",), 0),
        (("safe", "unsafe"), 10),
        (("numeric", "unsafe"), 10),
        (("numeric", "safe"), 12),
        (("safe", "numeric"), 12),
    ],
)
def test_exit_status(
    run: Run, engine: FakeEngine, answering: Answering, file: Path, statuses: Any, code: int
) -> None:
    answering(*statuses)
    assert run("moderate", "model", file).status == code
    answering(*statuses)
    assert json.loads(run("moderate", "model", file, "--json").out)["exit_status"] == code


def test_unsure_comes_last(answering: Answering) -> None:
    from stepguard import Reason, Status, Verdict
    from stepguard.taxonomy import GuardId

    def made(status: Status) -> Verdict:
        reason = Reason.MEMORY if status is Status.UNAVAILABLE else None
        return Verdict(status=status, reason=reason, guard=GuardId("", ""), mode="first_token")

    safe, unsafe, unsure, gone = map(made, Status)
    assert moderate.exit_status([safe, unsure]) == 11
    assert moderate.exit_status([unsure, gone, safe]) == 12
    assert moderate.exit_status([unsure, gone, unsafe]) == 10


def test_the_table(run: Run, engine: FakeEngine, answering: Answering, file: Path) -> None:
    answering("safe", "unsafe")
    ran = run("moderate", "model", file)
    lines = ran.out.splitlines()
    assert re.match(r"#\s+role\s+step\s+verdict\s+score\s+margin\s+tokens", lines[0])
    assert [line.split()[0] for line in lines[1:8]] == list("0123456")
    assert re.search(r"read\(\)\s+safe\s+0\.119\s+-2\.000\s+\d+$", lines[2].rstrip())
    assert re.search(r"\s+unsafe\s+0\.881\s+\+2\.000\s+\d+$", lines[6].rstrip())
    assert "2 verdicts" in ran.out
    assert "never trained to judge" in ran.out
    assert ran.err == ""


def test_what_content_cannot_do(
    run: Run, engine: FakeEngine, answering: Answering, tmp_path: Path
) -> None:
    answering("safe")
    evil = "[bold red]fake[/] \x1b[31m \x07 \u202egnp.exe \x9b2J \r hidden"
    contents = [{"role": "user", "content": evil}, {"role": "agent", "action": evil}]
    path = tmp_path / "evil.json"
    path.write_text(json.dumps({"contents": contents}))
    out = run("moderate", "model", path).out
    assert not set(out) & set("\x1b\x07\u202e\x9b\r")
    assert "[bold red]fake[/] \\x1b[31m \\x07 \\u202egnp.exe" in out


def test_json(run: Run, engine: FakeEngine, answering: Answering, file: Path) -> None:
    answering("unsafe")
    ran = run("moderate", "model", file, "--json")
    value = json.loads(ran.out)
    assert value["status"] == "unsafe"
    assert "never trained" in value["note"]
    assert value["model"]["path"] == "model"
    (one,) = value["trajectories"]
    assert one["id"] is None
    assert [verdict["step"] for verdict in one["verdicts"]] == [1, 5]
    assert one["verdicts"][0]["margin"] == 2.0


def test_every_key_is_documented(
    run: Run, engine: FakeEngine, answering: Answering, file: Path
) -> None:
    answering("safe")
    value = json.loads(run("moderate", "model", file, "--json").out)
    page = run("moderate", "--help").out.partition("keys of --json")[2]
    words = set(re.findall(r"[a-z_0-9]+", page))
    verdict = value["trajectories"][0]["verdicts"][0]
    assert {*value, *value["model"], *value["trajectories"][0], *verdict} <= words


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_many(
    run: Run, engine: FakeEngine, answering: Answering, tmp_path: Path, suffix: str
) -> None:
    answering("safe", "unsafe", "safe")
    lines = [json.dumps({"id": "one", **TRAJECTORY}), "", json.dumps(TALK)]
    path = tmp_path / f"many{suffix}"
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if suffix == ".jsonl.gz" else data)
    ran = run("moderate", "model", path)
    assert ran.status == 10
    assert re.search(r"^one\s+2\s+5\s+unsafe", ran.out, re.MULTILINE)
    assert re.search(r"^line 2\s+1\s+0\s+safe", ran.out, re.MULTILINE)
    answering("safe")
    value = json.loads(run("moderate", "model", path, "--json").out)
    assert [item["id"] for item in value["trajectories"]] == ["one", None]
    assert [len(item["verdicts"]) for item in value["trajectories"]] == [2, 1]


def test_what_cannot_be_read_is_said_in_the_table(run: Run, engine: FakeEngine, file: Path) -> None:
    engine.failures = [{}, {0: "memory"}]
    ran = run("moderate", "model", file)
    assert ran.status == 12
    assert "unavailable (memory)" in ran.out
    assert "unavailable: fake memory" in ran.out


@pytest.mark.parametrize("command", [["moderate"], ["calibrate", "--target-fnr", "0.1"]])
def test_options_that_do_not_fit_the_model(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def load(*_: object, **__: object) -> Guard:
        raise ValueError("activations: 'int8' needs int4 or int8 weights, these are float32")

    monkeypatch.setattr(Guard, "load", load)
    records = tmp_path / "records.jsonl"
    records.write_text('{"contents": [{"role": "user", "content": "x"}], "label": 0}\n')
    ran = run(*command, "model", file if command == ["moderate"] else records, "--mode", "forced")
    assert ran.status == 1
    assert "stepguard: StepguardError: the options of the command: got activations" in ran.err


@pytest.mark.parametrize("words", ["--gpu-memory -5", "--gpu-memory 1.5", "--device gpu"])
def test_wrong_options_of_a_gpu_are_wrong_usage(run: Run, file: Path, words: str) -> None:
    ran = run("moderate", "model", file, *words.split())
    assert ran.status == 2
    assert words.split()[0] in ran.err


def test_options_arrive(run: Run, engine: FakeEngine, file: Path) -> None:
    words = ("--kv", "fp32", "--activations", "int8", "--threads", "3", "--isa", "generic")
    words += ("--mode", "forced", "--escalate", "rationale", "--screen", "dir")
    words += ("--device", "cuda,cpu", "--gpu-memory", "3000")
    run("moderate", "model", file, *words)
    wanted = {"device": "cuda,cpu", "gpu_memory": 3000}
    wanted |= {"kv": "fp32", "activations": "int8", "threads": 3}
    wanted |= {"isa": "generic"}
    wanted |= {"taxonomy": None, "diagnoser": None, "larger": None}
    wanted |= {"mode": "forced", "escalate": "rationale", "screen": "dir"}
    assert engine.loaded == [{"path": "model", **wanted}]  # type: ignore[attr-defined]
    assert engine.closed


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.json", None, "No such file"),
        ("a.json", b"{", "expected JSON"),
        ("a.json", b"[" * 100_000, "too deep"),
        ("a.json", b"\xff", "expected JSON"),
        ("a.json", b'{"contents": []}', "at least one step"),
        ("a.json", b'{"contents": [{"role": "x"}]}', r"a.json: contents\[0\]"),
        ("a.json", b'{"profile": ""}', "moderate OUT - < FILE"),
        ("a.json", b"3", "expected an object"),
        ("a.jsonl", b"", "on every line"),
        ("a.jsonl", b'{"contents": [{"role": "user", "content": ""}]}\n{', "line 2"),
        ("a.jsonl.gz", b"no gzip", "readable file"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:-9], "readable file"),
    ],
)
def test_files_that_are_none(
    run: Run, engine: FakeEngine, tmp_path: Path, name: str, data: bytes | None, text: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    ran = run("moderate", "model", tmp_path / name)
    assert ran.status == 1
    assert ran.out == ""
    assert re.search(text, ran.err)
    assert ran.err.count("\n") == 1


def test_a_bar_on_a_terminal(
    run: Run, engine: FakeEngine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        cli_progress, "console", lambda **_: Console(file=screen, force_terminal=True, width=80)
    )
    engine.slices = 3
    ran = run("moderate", "model", file, "--json")
    assert json.loads(ran.out)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert re.search(r"reading.*\d+/\d+ tokens", plain)
