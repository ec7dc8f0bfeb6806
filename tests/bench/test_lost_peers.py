"""Peers that are there and fail: said, left out, and the others measured all the same."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from stepguard.bench.child import how_ended
from stepguard.bench.latency import prepare
from stepguard.bench.latency.engines import Running
from stepguard.bench.latency.remote import LostPeer, MissingPeer
from stepguard.bench.shapes import GUARDS
from stepguard.cli import main
from stepguard.errors import StepguardError

ILLEGAL = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules are found before those that are installed, in workers too."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, sys.path)]))
    return folder


def measured(tmp_path: Path, peers: str, *more: str) -> dict[str, Any]:
    words = ["bench", "prefill", "--shape", "tiny", "--tokens", "8", "--repeats", "1"]
    words += ["--threads", "1", "--peers", peers, "--json", str(tmp_path / "j.json")]
    assert main([*words, "--work", str(tmp_path / "w"), *more]) == 0
    report: dict[str, Any] = json.loads((tmp_path / "j.json").read_text())
    return report


def builder(folder: Path, text: str) -> None:
    """The package that makes the files of onnxruntime-genai."""
    (folder / "onnxruntime_genai" / "models").mkdir(parents=True)
    for name in ("__init__.py", "models/__init__.py"):
        (folder / "onnxruntime_genai" / name).write_text("")
    (folder / "onnxruntime_genai" / "models" / "builder.py").write_text(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ILLEGAL, "killed by SIGILL"),
        ("raise RuntimeError('no such instruction')", "RuntimeError: no such instruction"),
        ("raise SystemExit(7)", "exit status 7"),
    ],
)
def test_a_peer_that_cannot_load(
    packages: Path,
    tmp_path: Path,
    text: str,
    reason: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (packages / "llama_cpp.py").write_text(text)
    report = measured(tmp_path, "llama.cpp")
    assert report["missing"] == {"llama.cpp": reason}
    assert list(report["versions"]) == ["stepguard"]
    assert report["cases"][0]["ours_ms"] > 0
    out, err = capfd.readouterr()
    assert f"not measured: llama.cpp ({reason})" in out
    assert f"llama.cpp is not measured: {reason}" in err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ILLEGAL, "killed by SIGILL"),
        ("raise ValueError('no such shape')", "ValueError: no such shape"),
        ("raise SystemExit(7)", "exit status 7"),
    ],
)
def test_files_that_cannot_be_made(
    packages: Path, tmp_path: Path, text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    builder(packages, text)
    report = measured(tmp_path, "genai")
    assert report["missing"] == {"genai": reason}
    assert [case["peers"] for case in report["cases"]] == [{}]
    assert f"not measured: genai ({reason})" in capsys.readouterr().out
    assert not list((tmp_path / "w").glob("*.partial"))


def test_an_export_that_fails(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_EXPORTER", "no_exporter")
    (packages / "no_exporter.py").write_text("raise OSError('no space')")
    assert measured(tmp_path, "openvino")["missing"] == {"openvino": "OSError: no space"}


def test_a_full_disk_of_a_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "write_llama_cpp", full)
    assert "No space left" in measured(tmp_path, "llama.cpp")["missing"]["llama.cpp"]


def test_ours_that_fails_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise StepguardError("ours", expected="weights", got="none")

    monkeypatch.setattr(prepare, "write_ours", fails)
    words = ["bench", "prefill", "--shape", "tiny", "--peers", "none", "--work", str(tmp_path)]
    assert main(words) == 1
    assert "ours: expected weights, got none" in capsys.readouterr().err


FINDER = """
import importlib.abc, importlib.util, sys
FILES = {files!r}
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in FILES:
            return importlib.util.spec_from_file_location(name, FILES[name])
sys.meta_path.insert(0, Finder())
"""


def replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Modules of `stepguard.bench.latency` whose text is another one in workers."""
    hook = tmp_path / "hook"
    hook.mkdir()
    files = {}
    for name, text in modules.items():
        (hook / f"{name}_for_tests.py").write_text(text)
        files[f"stepguard.bench.latency.{name}"] = str(hook / f"{name}_for_tests.py")
    (hook / "sitecustomize.py").write_text(FINDER.format(files=files))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hook), *filter(None, sys.path)]))


def test_a_peer_that_ends_while_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads, and dies at its first case; the case is then measured without it."""
    dying = (
        "import os, signal\n"
        "class Dying:\n"
        "    version, ways = '9', ('in turn',)\n"
        "    def again(self, ids):\n"
        "        os.kill(os.getpid(), signal.SIGILL)\n"
        "def make(setting):\n"
        "    return Dying()\n"
    )
    replaced(tmp_path, monkeypatch, llama=dying)
    report = measured(tmp_path, "llama.cpp")
    assert report["missing"] == {"llama.cpp": "killed by SIGILL"}
    assert list(report["versions"]) == list(report["memory"]) == ["stepguard"]
    (case,) = report["cases"]
    assert list(case["times_ms"]) == ["stepguard"]
    assert len(case["times_ms"]["stepguard"]) == 1


# Serves with our engine, so that its logits are ours, from the directory beside its file.
SERVING = """
import dataclasses, os, signal
from stepguard.bench.latency.ours import Ours
from stepguard.bench.latency.prepare import OURS
class Serving(Ours):
    ways = ("in turn",)
    calls = 0
    def add(self, ids):
        self.count("add")
        super().add(ids)
    def rounds(self, way, steps, question, count, long):
        self.count("beside" if len(long) else "rounds")
        return super().rounds(way, steps, question, count, long)
    def count(self, kind):
        pass
def make(setting):
    (files,) = setting.files.parent.glob("*-stepguard")
    return Serving(dataclasses.replace(setting, files=files, options=OURS))
"""
DYING = SERVING.replace(
    "        pass",
    "        self.calls += kind == {kind!r}\n        if self.calls == {call}:\n            {end}",
)
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize(
    ("kind", "call", "end", "reason"),
    [
        ("add", 2, KILLED, "killed by SIGKILL"),
        ("rounds", 1, KILLED, "killed by SIGKILL"),  # to warm up
        ("rounds", 3, "raise MemoryError('no room')", "MemoryError: no room"),
        ("beside", 1, KILLED, "killed by SIGKILL"),
    ],
)
def test_a_peer_that_ends_in_company(
    kind: str,
    call: int,
    end: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The other peer goes on; nothing of what was lost stays in the report."""
    dying = DYING.format(kind=kind, call=call, end=end)
    replaced(tmp_path, monkeypatch, genai=dying, llama=SERVING)
    work, file = tmp_path / "w", tmp_path / "j.json"
    name = f"{GUARDS['tiny'].name}-0"
    for made in ("bf16", "genai"):  # no builder makes them for a fake
        (work / f"{name}-{made}").mkdir(parents=True)
    words = ["bench", "throughput", "--shape", "tiny", "--context", "20", "--new", "4"]
    words += ["--question", "3", "--sessions", "1,2", "--rounds", "2", "--beside", "10"]
    words += ["--threads", "1", "--work", str(work), "--json", str(file)]
    assert main([*words, "--plot", str(tmp_path / "t.svg")]) == 0
    report = json.loads(file.read_text())
    assert report["missing"] == {"genai": reason}
    assert list(report["versions"]) == ["stepguard", "llama.cpp"]
    assert len(report["cases"]) == 4
    for case in report["cases"]:
        assert list(case["times_ms"]) == ["stepguard", "llama.cpp"]
        assert list(case["peers"]) == ["llama.cpp"]
    out, err = capfd.readouterr()
    assert f"not measured: genai ({reason})" in out
    assert err.count(f"genai is not measured: {reason}") == 1


def test_who_is_left_out() -> None:
    run = Running()

    def lost(name: str) -> LostPeer:
        return LostPeer(name, expected="an answer", got="its\nend")

    def fails(_: object) -> None:
        raise lost("stepguard")

    with pytest.raises(LostPeer):
        run.without_lost(fails)
    run.leave_out("genai", lost("genai"))
    assert run.missing == {"genai": "its end"}
    assert issubclass(MissingPeer, LostPeer)


def test_how_a_process_ended() -> None:
    assert [how_ended(status) for status in (0, 3, -4, -9)] == [
        "exit status 0",
        "exit status 3",
        "killed by SIGILL",
        "killed by SIGKILL",
    ]
    assert how_ended(-200) == "killed by signal 200"
