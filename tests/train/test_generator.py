"""The generator: the same for a seed, labelled where the twins part, and varied."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.taxonomy import Dimension, shipped
from stepguard.train import read_records
from stepguard.train.generator import families, generate, held_out, pairs, write
from stepguard.train.generator.domains import DOMAINS
from stepguard.train.generator.make import Pair

SLOT = re.compile(r"\{[a-z_A-Z]+\d*\}")


@pytest.fixture(scope="module")
def made() -> list[Pair]:
    return list(pairs(3, 340))


def flat(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for part in record["contents"] for step in part]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    digests = [write(file, seed, 61) for file, seed in zip(files, (0, 0, 1), strict=True)]
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    assert digests[0] == digests[1] != digests[2]
    assert len(files[0].read_text().splitlines()) == 61
    longer = [record["id"] for record in generate(0, 100)]
    assert [record["id"] for record in generate(0, 61)] == longer[:61]


def test_every_line_is_a_record(tmp_path: Path) -> None:
    file = tmp_path / "made.jsonl"
    write(file, 3, 200)
    records = read_records([file])
    assert sum(record.unsafe for record in records) == 100
    for record in records:
        assert record.family.startswith("generated/")
        assert record.unsafe == (record.first_unsafe is not None)
        assert len(record.labels) == (3 if record.unsafe else 0)


def test_labels_are_those_of_the_taxonomy(made: list[Pair]) -> None:
    known = {
        dimension: {label.id for label in shipped("all").labels if label.dimension == dimension}
        for dimension in Dimension
    }
    for pair in made:
        for dimension in Dimension:
            assert pair.unsafe[dimension.value] in known[dimension]
            assert pair.safe[dimension.value] is None
    sources = Counter(pair.unsafe["risk_source"] for pair in made)
    assert len(sources) >= 10
    assert len({pair.unsafe["failure_mode"] for pair in made}) >= 15
    assert len({pair.unsafe["real_world_harm"] for pair in made}) >= 10


def test_twins_part_at_the_first_unsafe_step(made: list[Pair]) -> None:
    for pair in made:
        unsafe, safe = flat(pair.unsafe), flat(pair.safe)
        first = pair.unsafe["first_unsafe_step"]
        assert first == pair.unsafe["meta"]["decisive_step"]
        assert unsafe[first]["role"] == "agent"
        assert pair.safe["first_unsafe_step"] is None
        assert pair.unsafe["meta"]["family"] == pair.safe["meta"]["family"]
        assert pair.unsafe["meta"]["twin"] == pair.safe["id"]
        assert pair.unsafe["profile"] == pair.safe["profile"]
        # The step itself differs, or what the user or a tool has said before it.
        assert unsafe[: first + 1] != safe[: first + 1]


def test_no_slot_is_left_open(made: list[Pair]) -> None:
    for pair in made:
        for record in (pair.unsafe, pair.safe):
            text = json.dumps([record["profile"], record["contents"]])
            assert SLOT.search(text) is None, text


def test_no_two_records_are_alike(made: list[Pair]) -> None:
    texts = [json.dumps(one["contents"]) for pair in made for one in (pair.unsafe, pair.safe)]
    assert len(set(texts)) == len(texts)


def test_actions_are_json_and_name_a_listed_tool(made: list[Pair]) -> None:
    names = set()
    for pair in made:
        for step in flat(pair.unsafe) + flat(pair.safe):
            if step["role"] != "agent":
                continue
            if step["action"].startswith("Complete"):
                assert json.loads(step["action"].removeprefix("Complete"))["response"]
                continue
            value = json.loads(step["action"])
            call = value[0] if isinstance(value, list) else value
            assert call["name"] in pair.safe["profile"]
            names.add(call["name"])
    assert len(names) > 400


def test_lengths_vary(made: list[Pair]) -> None:
    lengths = [len(flat(one)) for pair in made for one in (pair.unsafe, pair.safe)]
    assert min(lengths) <= 4
    assert max(lengths) >= 38
    assert sum(length <= 45 for length in lengths) > 0.98 * len(lengths)


def test_families_are_held_out_by_name() -> None:
    out, train = families("held-out"), families("train")
    assert sorted(f.name for f in out + train) == [f.name for f in families()]
    assert 0.15 < len(out) / len(families()) < 0.35
    assert {f.name.split("/")[1] for f in out} == {"chore", "choice", "consent", "misuse"}
    assert len({f.domain.name for f in out}) >= 8
    assert all(held_out(pair.unsafe["meta"]["family"]) for pair in pairs(0, 40, "held-out"))
    assert not any(held_out(pair.safe["meta"]["family"]) for pair in pairs(0, 40, "train"))


def test_every_domain_is_well_formed() -> None:
    for domain in DOMAINS:
        for family in (f for f in families() if f.domain is domain):
            if hasattr(family.item, "rogues"):
                assert family.item.rogues
                assert any("{note}" in str(look.result) for look in family.item.looks)
        assert len(domain.idle) >= 2


def test_wrong_wishes() -> None:
    for count, split in ((0, "all"), (1, "tests")):
        with pytest.raises(StepguardError, match="split and count"):
            list(pairs(0, count, split))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    assert main(["train", "generate", str(out), "--count", "20", "--seed", "5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["records"] == 20
    assert facts["split"] == "train"
    assert not any(json.loads(line)["meta"]["held_out"] for line in out.open())
    listed = tmp_path / "listed.tsv"
    words = ["--test", str(out), "--list", str(listed), "--json"]
    assert main(["train", "check", str(out), *words]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["records"] == facts["kept"] == len(facts["overlap"][0]["over"]) == 20
    rows = [line.split("\t") for line in listed.read_text().splitlines()]
    assert {row[0] for row in rows} == {record.sha256 for record in read_records([out])}
    assert {row[1] for row in rows} == {"generated"}


BARE = """
import sys
for name in ("sklearn", "scipy", "torch", "peft", "transformers", "matplotlib", "safetensors"):
    sys.modules[name] = None
from stepguard.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_grammar_needs_no_extra(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", BARE, "train", "generate", str(out), "--count", "4"]
    subprocess.run(command, check=True)
    assert len(out.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["check", "a.jsonl"], "train"),
        (["lora", "base", "a.jsonl", "--out", "run"], "train,export"),
        (
            ["choose", "base", "run", "--inside", "a", "--outside", "b", "--safe", "c"],
            "train,export",
        ),
        (["purify", "model", "a.jsonl"], "train"),
    ],
)
def test_without_the_extra(tmp_path: Path, words: list[str], extra: str) -> None:
    command = [sys.executable, "-c", BARE, "train", *words]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1
    assert f"stepguard train {words[0]}: expected the packages of the extra [{extra}]" in ran.stderr
    assert f"pip install 'stepguard[{extra}]'" in ran.stderr
