"""The choice of trajectories: even, seeded, and clear about what is wrong with a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from stepguard.bench import read_samples
from stepguard.errors import TrajectoryError

STEP = {"role": "user", "content": "hello"}


def write(path: Path, *names: str) -> Path:
    lines = [json.dumps({"id": name, "contents": [STEP]}) for name in names]
    path.write_text("\n\n".join(lines) + "\n")
    return path


def names(files: list[Path], limit: int, seed: int = 0) -> list[str]:
    return [sample.name for sample in read_samples(files, limit, seed)]


def test_files_take_turns_while_they_have_any(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.jsonl", "a1", "a2", "a3", "a4"), write(tmp_path / "b.jsonl", "b1")]
    taken = names(files, 4)
    assert [name[0] for name in taken] == ["a", "b", "a", "a"]
    assert len(set(taken)) == 4
    assert sorted(names(files, 99)) == ["a1", "a2", "a3", "a4", "b1"]


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", *(f"a{i}" for i in range(40)))
    other = write(tmp_path / "b.jsonl", "b1")
    assert names([file], 8) == names([file], 8)
    assert names([file], 8) != names([file], 8, seed=1)
    assert names([file], 4) == [name for name in names([other, file], 5) if name[0] == "a"]


def test_compressed_files_and_lines_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"contents": [STEP]}).encode()))
    (sample,) = read_samples([path], 3)
    assert sample.name == "a.jsonl.gz:1"
    assert sample.trajectory.steps[0].role == "user"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "a.jsonl:1: expected JSON"),
        ("[]", "a.jsonl:1: expected an object"),
        ('{"contents": [{"role": "ghost"}]}', "role"),
        ('{"contents": []}', "a.jsonl:1: expected at least one step"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(TrajectoryError, match=problem):
        read_samples([path], 1)


@pytest.mark.parametrize(
    "content", [None, b"not gzip", gzip.compress(b"{}" * 99, mtime=0)[:-9], b""]
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    if content == b"":
        assert read_samples([path], 1) == []
        return
    with pytest.raises(TrajectoryError, match=r"a\.jsonl\.gz"):
        read_samples([path], 1)
