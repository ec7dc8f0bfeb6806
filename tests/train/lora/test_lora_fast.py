"""Layers in bf16 by hand against transformers' own in float32: what they give, and gradients."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from stepguard.errors import TrainingError  # noqa: E402
from stepguard.train.lora import fast  # noqa: E402
from stepguard.train.lora.adapter import Adapter  # noqa: E402
from stepguard.train.lora.base import open_base  # noqa: E402
from stepguard.train.lora.estimate import estimate  # noqa: E402
from stepguard.train.lora.loop import units_of  # noqa: E402
from stepguard.train.lora.rows import Row  # noqa: E402
from stepguard.train.lora.settings import Settings  # noqa: E402
from stepguard.train.lora.tower import Tower, loss_of  # noqa: E402
from stepguard.train.records import read_records  # noqa: E402
from tests.train.lora.runs import pack, tiny, trainer, write_records  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Of records with three questions each, and of one with a single one."""
    tiny(tmp_path / "llama")
    base = open_base(tmp_path / "llama", taxonomy="base")
    write_records(tmp_path / "one.jsonl", 2, seed=3, actions=1)
    write_records(tmp_path / "data.jsonl", 4)
    records = read_records([tmp_path / "one.jsonl", tmp_path / "data.jsonl"])
    found = [row for one in pack(base, records) for row in one.rows]
    assert {row.plain for row in found} == {True, False}
    assert max(len(row.ids) for row in found) > 2 * 64  # several blocks of attention
    return found


def read(folder: Path, row: Row, precision: Any, dropout: float = 0.0) -> tuple[Any, Any, Any]:
    """What is behind the layers, the loss, and the gradient of a loud adapter, as one row."""
    base = open_base(folder, taxonomy="base")
    adapter = Adapter(base, Settings(layers=3, rank=4, alpha=8, dropout=dropout))
    torch.manual_seed(5)
    for parameter in adapter.parameters.values():
        parameter.data.normal_(0, 0.1)
    adapter.train(False)
    tower = Tower(base.model, precision)
    hidden = tower.run(tower.embed(row), row, 0, base.layers)
    loss = loss_of(tower, hidden, row, 0.5)
    found = torch.autograd.grad(loss, list(adapter.parameters.values()))
    return hidden.detach(), float(loss.detach()), torch.cat([one.flatten() for one in found])


def apart(found: Any, wanted: Any) -> float:
    """The distance, relative to what it should be."""
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
def test_layers_by_hand_are_those_of_transformers(
    arch: str, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, called = tiny(tmp_path / arch, arch=arch), []
    run = fast.run
    monkeypatch.setattr(fast, "run", lambda *given: called.append(1) or run(*given))
    for row in (rows[0], max(rows, key=lambda one: len(one.branches))):
        exact, loss, wanted = read(folder, row, "fp32")
        assert not called
        hidden, near, found = read(folder, row, "bf16")
        assert len(called) == 3
        called.clear()
        with monkeypatch.context() as without:
            without.setattr(fast, "able", lambda _: False)
            rounded, _, also_found = read(folder, row, "bf16")  # by transformers
        assert not called
        # Random layers are loud in bf16: nearly as close to float32 as PyTorch's own products.
        assert apart(hidden, exact) < 1.2 * apart(rounded, exact) < 0.1
        assert apart(found, wanted) < 2 * apart(also_found, wanted) + 0.02 < 0.5
        assert near == pytest.approx(loss, rel=0.1)


def test_a_token_sees_its_own_branch_only(rows: list[Row]) -> None:
    row = next(row for row in rows if len(row.branches) > 1)
    mask, seen = fast.mask_of(row), torch.from_numpy(row.sees())
    assert torch.equal(mask == 0, seen)
    assert torch.isinf(mask[~seen]).all()
    assert not seen[row.branches[1].begin, row.branches[0].begin]


def test_dropout_takes_the_layers_of_transformers(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "base")
    for dropout in (0.0, 0.1):
        base = open_base(folder, taxonomy="base")
        Adapter(base, Settings(layers=2, rank=4, dropout=dropout))
        able = [fast.able(layer) for layer in base.model.model.layers]
        assert able == [True, dropout == 0, dropout == 0]


def test_records_side_by_side_give_the_same_bits(tmp_path: Path) -> None:
    tiny(tmp_path / "base")
    write_records(tmp_path / "data.jsonl", 8, actions=2)
    losses, weights = [], []
    for beside in (1, 2, 3):
        out = tmp_path / str(beside)
        run = trainer(
            tmp_path / "base", tmp_path / "data.jsonl", out, precision="bf16", beside=beside
        )
        sitting = run.sit()
        losses.append(sitting.losses)
        assert sitting.checkpoint is not None
        weights.append((sitting.checkpoint / "adapter_model.safetensors").read_bytes())
    assert losses[0] == losses[1] == losses[2]
    assert weights[0] == weights[1] == weights[2]


def test_an_estimate_counts_the_cores(tmp_path: Path) -> None:
    folder, path = tiny(tmp_path / "base"), write_records(tmp_path / "data.jsonl", 4)
    found = []
    for beside in (1, 2):
        base = open_base(folder, taxonomy="base")
        ticks = itertools.count()  # a second between any two looks at the clock
        settings = Settings(layers=2, rank=4, precision="bf16")
        packed = pack(base, read_records([path]))
        found.append(
            estimate(base, packed, settings, 2, lambda t=ticks: float(next(t)), beside=beside)
        )
    assert found[0].first == pytest.approx(2 * found[1].first)
    assert found[0].later == pytest.approx(2 * found[1].later)
    assert found[0].tokens == found[1].tokens


def test_dropout_is_not_drawn_side_by_side(tmp_path: Path) -> None:
    tiny(tmp_path / "base")
    write_records(tmp_path / "data.jsonl", 4)
    with pytest.raises(TrainingError, match="beside: expected 1 with dropout, got 2"):
        trainer(tmp_path / "base", tmp_path / "data.jsonl", tmp_path / "run", dropout=0.1, beside=2)
    assert not (tmp_path / "run").exists()


def test_twins_stand_in_one_step(tmp_path: Path) -> None:
    path = write_records(tmp_path / "data.jsonl", 6)
    values = [json.loads(line) for line in path.read_text().splitlines()]
    for one, other in ((0, 3), (3, 0), (1, 5), (5, 1)):
        values[one]["meta"]["twin"] = f"r{other}"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    units = units_of(read_records([path]))
    assert sorted(units) == [[0, 3], [1, 5], [2], [4]]
