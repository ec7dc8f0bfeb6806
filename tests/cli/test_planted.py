"""No command prints content that could steer the terminal: planted in every place that it shows."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli import (
    planted_console,
    planted_logs,
    planted_models,
    planted_training,
    planted_verdicts,
)
from tests.cli.planted import WORDS, harmless, whole
from tests.cli.planted_place import Place, Run
from tests.cli.ran import Ran
from tests.export.tiny import make_checkpoint
from tests.front.fakes import FakeEngine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("planted") / "checkpoint", "qwen3")


@pytest.fixture
def place(
    run: Run,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
) -> Place:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Place(run, tmp_path, monkeypatch, engine, checkpoint)


ROOMS = (planted_verdicts, planted_models, planted_training, planted_logs, planted_console)
CASES = [case for room in ROOMS for case in room.CASES]
SHOW = {case for room in ROOMS for case in room.SHOW}  # output that has the words themselves


@pytest.mark.parametrize("coloured", [False, True], ids=["plain", "coloured"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_no_command_lets_it_through(
    case: Callable[[Place], Ran], place: Place, coloured: bool
) -> None:
    if coloured:
        place.patch.setenv("FORCE_COLOR", "1")
        place.patch.setenv("COLUMNS", "2000")
    ran = case(place)
    assert ran.out or ran.err or case is planted_verdicts.reported
    harmless(ran.out, coloured=coloured)
    harmless(ran.err, coloured=coloured)
    if case in SHOW and not coloured:
        whole(ran.out + ran.err)


def test_the_look_finds_what_gets_through() -> None:
    for text in ("\x1b[5;7;35m", "\x1b]8;;x", "\u202e", "\x9b", "\ud800", "\u2028", "\0"):
        with pytest.raises(AssertionError):
            harmless(f"a{text}b", coloured=True)
    harmless("\x1b[1;31mred\x1b[0m\n", coloured=True)
    with pytest.raises(AssertionError):
        harmless("\x1b[1;31mred\x1b[0m\n")
    with pytest.raises(AssertionError):
        whole("[link=y]z")


def test_everything_goes_through_these_doors() -> None:
    """Nobody makes a console of their own, and who prints without one is known."""
    consoles, prints = set(), set()
    for room in ("src", "export", "train", "bench", "taxonomy", "runtime"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    if node.func.id == "Console":
                        consoles.add(name)
                    if node.func.id == "print":
                        prints.add(name)
    assert consoles == {"export/progress.py"}  # of tensors' names, which it escapes
    assert prints == {
        "src/stepguard/cli/__init__.py",  # one line of an error, escaped
        "src/stepguard/cli/default.py",  # the same
        "src/stepguard/cli/default_make.py",  # the command that it runs, escaped
        "src/stepguard/cli/moderate.py",  # a fixed note
        "src/stepguard/cli/serve.py",  # the same, and where it listens, escaped
        "src/stepguard/cli/screen.py",  # what it is at, escaped, and JSON
        "export/screen_python.py",  # commands that it runs, escaped
        "export/screen_job.py",  # pipes between processes
        "bench/cold_probe.py",  # pipes between processes of a measurement
        "bench/neighbour_probe.py",
    }


def test_the_bar_of_an_export_escapes(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from stepguard.export import progress_bar

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    with progress_bar() as report:
        report(WORDS, 1, 2)
    err = capsys.readouterr().err
    harmless(err, coloured=True)
    assert "[red]x[bold]" in err
