"""The fuzz targets do not rot: seeds are read, neighbours of them end in no surprise.

What fuzzing found and was mended stands here, input by input. `make fuzz` goes on from there.
"""

from __future__ import annotations

import gzip
import importlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stepguard.errors import StepguardError, TrajectoryError
from stepguard.export.checkpoint import open_checkpoint
from stepguard.manifest import Manifest
from tests.front.manifests import change, sample
from tests.fuzz import gguf_target as gguf
from tests.fuzz import safetensors_target as safetensors
from tests.fuzz.mutate import mutate_json
from tests.fuzz.one import TARGETS
from tests.fuzz.target import Target

ROOT = Path(__file__).resolve().parents[2]
IN_PROCESS = [name for name in TARGETS if name != "graph"]


def target(name: str) -> Target:
    found: Target = importlib.import_module(f"tests.fuzz.{name}_target").TARGET
    return found


def neighbours(of: Target, count: int, seed: int) -> Iterator[bytes]:
    random, seeds = Random(seed), of.seeds()
    for _ in range(count):
        yield of.mutate(random.choice(seeds), random)[: of.most]


@pytest.mark.parametrize("name", IN_PROCESS)
def test_neighbours_of_the_seeds(name: str) -> None:
    one = target(name)
    assert any(one.accepts(data) for data in one.seeds())
    outcomes = [one.accepts(data) for data in neighbours(one, 60 if name == "prompt" else 250, 7)]
    # A mutator that only breaks, or only copies, would find nothing.
    assert 0 < sum(outcomes) < len(outcomes)


@pytest.mark.parametrize("name", IN_PROCESS)
def test_the_same_seed_gives_the_same_inputs(name: str) -> None:
    one = target(name)
    assert list(neighbours(one, 20, 3)) == list(neighbours(one, 20, 3))


class Broken(Exception):
    """What a reader must not raise."""


def test_the_mutator_of_json_keeps_nothing_of_what_it_gave_out() -> None:
    """Parts that stood in two places once changed while they were walked."""
    data = b'{"a": [1, [2, {"b": []}], {}], "c": {"d": [3], "e": {}}}'
    first = [mutate_json(data, Random(seed)) for seed in range(2_000)]
    assert [mutate_json(data, Random(seed)) for seed in range(2_000)] == first


def test_a_surprise_is_a_finding() -> None:
    def run(data: bytes) -> None:
        raise Broken if data == b"b" else TrajectoryError("refused")

    one = Target("one", run, lambda: [b"a"], (TrajectoryError,), lambda data, random: b"b")
    assert not one.accepts(b"a")
    with pytest.raises(Broken):
        one.accepts(b"b")


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def manifest(path: str, new: Any) -> bytes:
    return json.dumps(change(sample(), path, new)).encode()


def tensor(**fields: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | fields
    return safetensors.raw({"w": entry}, bytes(8))


def index(weight_map: str) -> bytes:
    return b'{"weight_map": ' + weight_map.encode() + b"}"


def arrays(levels: int) -> bytes:
    value = struct.pack("<IQ", 9, 1) * (levels - 1) + struct.pack("<IQB", 0, 1, 7)
    return gguf.header([gguf.entry("a", 9, value)], [])


MENDED = {
    "a number beyond float64 in a free field": ("manifest", manifest("heads", {"a": "@"})),
    "levels that cannot be written again": ("manifest", manifest("prompt", {"a": deep(400)})),
    "levels that cannot be shown": ("manifest", manifest("taxonomy", deep(900))),
    "a dtype that is a list": ("safetensors", tensor(dtype=["F32"])),
    "a size of 4,000 digits": ("safetensors", tensor(shape=[10**3999, 10**3999])),
    "a million dimensions": ("safetensors", tensor(shape=[3] * 1_000_000)),
    "a shard with a name of 5,000 letters": ("safetensors", index('{"a": "' + "x" * 5000 + '"}')),
    "no rows of any length": (
        "safetensors",
        safetensors.raw({"w": {"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]}}),
    ),
    "an empty tensor beyond numpy": (
        "gguf",
        gguf.header([], [gguf.tensor("w", (0, 1 << 40, 1 << 40), 0, 0)]),
    ),
    "an index without an end": ("safetensors", index("[" * 100_000)),
    "arrays of arrays of arrays": ("gguf", arrays(2000)),
    "a number of parts that is a text": (
        "gguf",
        gguf.header([gguf.entry("split.count", 8, gguf.text("2"))], []),
    ),
}


@pytest.mark.parametrize(("name", "data"), MENDED.values(), ids=MENDED)
def test_what_fuzzing_found_is_refused_by_name(name: str, data: bytes) -> None:
    assert not target(name).accepts(data.replace(b'"@"', b"1e999"))


def test_ten_thousand_keys_and_a_twin_end_soon() -> None:
    keys = ",".join(f'"{number}":0' for number in range(200_000))
    with pytest.raises(StepguardError, match="'7' stands twice"):
        Manifest.from_json("{" + keys + ',"7":0}')


def test_arrays_of_arrays_are_read_to_eight_levels(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(arrays(8))
    assert open_checkpoint(path).config == {"a": [[[[[[[[7]]]]]]]]}
    path.write_bytes(arrays(10))
    with pytest.raises(StepguardError, match="at most 8 arrays"):
        open_checkpoint(path)


def test_a_small_file_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepguard import files

    path = tmp_path / "many.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 4_000_000))
    monkeypatch.setattr(files, "_MOST_UNPACKED", 1 << 20)
    with pytest.raises(TrajectoryError, match="at most 1 MiB when unpacked"):
        files.read_trajectories(str(path))


def one(name: str, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    for folder in ("corpus", "findings"):
        (place / folder).mkdir(exist_ok=True)
    return subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.one", name, f"--corpus={place / 'corpus'}"),
            *(f"--findings={place / 'findings'}", *words),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_a_run_without_atheris(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for number, data in enumerate(target("trajectory").seeds()):
        (tmp_path / "corpus" / str(number)).write_bytes(data)
    done = one("trajectory", tmp_path, "--plain", "--seconds=1")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.rsplit(":", 1)[1]) > 0
    assert list((tmp_path / "findings").iterdir()) == []
    (tmp_path / "input").write_bytes(b"j{}")
    done = one("trajectory", tmp_path, f"--reproduce={tmp_path / 'input'}")
    assert done.stdout == "trajectory: refused by name\n"


@pytest.mark.slow
def test_hostile_graphs(tmp_path: Path) -> None:
    """In a process of its own: it would take this one down."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "0").write_bytes(target("graph").seeds()[0])
    done = one("graph", tmp_path, "--plain", "--seconds=10")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.rsplit(":", 1)[1]) > 20


def test_a_node_name_that_is_no_text(tmp_path: Path) -> None:
    """ONNX Runtime quotes it; the message must not fail where it is made."""
    from stepguard.errors import ModelFormatError
    from stepguard.runtime import Engine
    from tests.front.manifests import sample as fields

    (tmp_path / "manifest.json").write_text(json.dumps(fields()))
    node = b"\x12\x01o\x22\x03a\xffb"  # its output, and an operation that is no UTF-8
    graph = b"\x0a" + bytes([len(node)]) + node + b"\x12\x01g"
    model = b"\x08\x08" + b"\x42\x04\x0a\x00\x10\x15" + b"\x3a" + bytes([len(graph)]) + graph
    (tmp_path / "model.onnx").write_bytes(model)
    with pytest.raises(ModelFormatError, match="a\ufffdb"):
        Engine(tmp_path, threads=1, memory=16 << 20)
