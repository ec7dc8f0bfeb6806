"""What an adapter learns from is what a guard reads: the ids, their places, the labels' paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from stepguard import Guard  # noqa: E402
from stepguard.errors import TrainingError  # noqa: E402
from stepguard.export import export_model  # noqa: E402
from stepguard.prompt import Trajectory  # noqa: E402
from stepguard.runtime import State  # noqa: E402
from stepguard.train.generator.make import write  # noqa: E402
from stepguard.train.lora.base import Base, open_base  # noqa: E402
from stepguard.train.lora.rows import Packed, Packer  # noqa: E402
from stepguard.train.lora.tower import Tower, margins_of  # noqa: E402
from stepguard.train.records import read_records  # noqa: E402
from tests.train.lora.runs import LABELS, pack, tiny, write_records  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    tiny(folder / "base", 2, max_position_embeddings=1024)
    write_records(folder / "data.jsonl", 12)
    write_records(folder / "long.jsonl", 4, seed=1, actions=30)
    export_model(
        folder / "base", folder / "model", quant="float32", template="short", taxonomy="base"
    )
    return folder


@pytest.fixture(scope="module")
def base(place: Path) -> Base:
    return open_base(place / "base", taxonomy="base")


def packed_of(place: Path, base: Base, name: str = "data", context: int = 512) -> list[Packed]:
    return pack(base, read_records([place / f"{name}.jsonl"]), context)


def test_every_prefix_is_the_whole_text_encoded_at_once(place: Path, base: Base) -> None:
    count = 0
    for packed in packed_of(place, base):
        given = packed.record.trajectory
        for row in packed.rows:
            for index, question in enumerate(row.questions):
                whole = base.encoder.whole(
                    Trajectory(given.profile, given.steps[: question.step + 1])
                )
                asked = row.prefix(index)[: len(whole)]
                assert np.array_equal(asked, whole)
                branch = row.branches[index]
                # The verdict is read behind the question's last id.
                assert question.verdict.at == branch.begin + len(whole) - branch.fork - 1
                assert np.array_equal(
                    row.positions[branch.begin : branch.end],
                    np.arange(branch.fork, branch.fork + branch.end - branch.begin),
                )
                count += 1
        assert len(packed.rows) == 1  # the steps are read once
    assert count == 3 * 9 + 3  # three actions each, but of three unsafe records only the end


def test_the_ids_are_those_that_a_guard_submits(
    place: Path, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[tuple[int, ...]] = set()
    with Guard.load(place / "model", save_prefix=False) as guard:
        engine, prefix = guard._reader.engine, guard._reader.encoder.prefix_ids
        submit = engine.submit

        def watched(segments: Any, **more: Any) -> Any:
            paths: list[list[int]] = []
            for segment in segments:
                parent = segment.parent
                before = list(prefix) if isinstance(parent, State) else paths[parent]
                paths.append([*before, *map(int, segment.tokens)])
                if segment.read is not None and len(segment.read):
                    read.add(tuple(paths[-1]))
            return submit(segments, **more)

        monkeypatch.setattr(engine, "submit", watched)
        records = read_records([place / "data.jsonl"])
        guard.moderate_many([record.trajectory for record in records])
    trained = set()
    for packed in packed_of(place, base):
        for row in packed.rows:
            for index, question in enumerate(row.questions):
                length = question.verdict.at + 1 - row.branches[index].begin
                trained.add(tuple(map(int, row.prefix(index)[: row.branches[index].fork + length])))
    assert len(trained) == 30
    assert trained <= read  # a guard judges the prefixes without a label, too


def test_labels_and_weights_are_those_of_the_points(place: Path, base: Base) -> None:
    for packed in packed_of(place, base):
        questions, record = packed.questions, packed.record
        assert sum(question.weight for question in questions) == pytest.approx(1)
        if not record.unsafe:
            assert [question.unsafe for question in questions] == [False] * 3
        elif record.first_unsafe is None:
            assert [(q.step, q.unsafe) for q in questions] == [(5, True)]
        else:
            assert [q.unsafe for q in questions] == [False, False, True]
        for question in questions:
            right = base.labels.unsafe if question.unsafe else base.labels.safe
            assert (question.verdict.ids, question.verdict.right) == (base.labels.ids, right)


def test_labels_are_asked_on_the_answer_that_a_guard_writes(place: Path, base: Base) -> None:
    packed = next(one for one in packed_of(place, base) if one.record.unsafe)
    (row,) = packed.rows
    (index,) = [i for i, question in enumerate(row.questions) if question.labels]
    question, branch = row.questions[index], row.branches[index]
    assert base.fields is not None
    assert len(question.labels) == 3
    answer = base.encoder.tokenizer.decode(row.ids[question.verdict.at + 1 : branch.end].tolist())
    texts = [
        {entry.id: entry.text for entry in field.entries}[packed.record.label_of(field.dimension)]
        for field in base.fields.fields
    ]
    assert [text in answer for text in texts] == [True] * 3
    assert answer.index(texts[0]) < answer.index(texts[1]) < answer.index(texts[2])
    for field, choices in zip(base.fields.fields, question.labels, strict=True):
        label = packed.record.label_of(field.dimension)
        assert label == LABELS.get(field.dimension.value, LABELS["harm_type"])
        for choice in choices:
            # What follows in the row is the id that is right there.
            assert choice.right == (int(row.ids[choice.at + 1]),)
            assert choice.right[0] in choice.ids
    safe = [one for one in packed_of(place, base) if not one.record.unsafe]
    assert not any(question.labels for one in safe for question in one.questions)


def test_what_is_cut_is_what_a_guard_with_a_window_reads(place: Path, base: Base) -> None:
    """Margins of a guard whose context is full, against those of the rows that are learned."""
    longest = base.fields.longest if base.fields is not None else 0
    packed = packed_of(place, base, "long", context=1024 - longest)
    assert sum(one.cut for one in packed) > 10
    rows = [row for one in packed for row in one.rows]
    assert max(len(row.prefix(i)) for row in rows for i in range(len(row.branches))) <= 1024
    tower = Tower(base.model, "fp32")
    layers = len(tower.layers)
    compared = 0
    with Guard.load(place / "model", save_prefix=False, kv="fp32") as guard:
        for one in packed:
            found = {}
            with guard.session(one.record.trajectory.profile, window="window") as session:
                for index, step in enumerate(one.record.trajectory.steps):
                    verdict = session.follow(step)
                    if verdict is not None:
                        found[index] = verdict
            for row in one.rows:
                with torch.no_grad():
                    margins = margins_of(tower, tower.run(tower.embed(row), row, 0, layers), row)
                for question, margin in zip(row.questions, margins, strict=True):
                    verdict = found[question.step]
                    assert (verdict.coverage < 1) == (question.lost > 0)
                    assert verdict.margin == pytest.approx(float(margin), abs=1e-3)
                    compared += 1
    assert compared > 50


def test_a_row_of_branches_gives_what_each_prefix_gives_alone(place: Path, base: Base) -> None:
    """transformers' own forward over one prefix at a time is the oracle."""
    tower = Tower(base.model, "fp32")
    spread = []
    for packed in packed_of(place, base)[:4]:
        (row,) = packed.rows
        with torch.no_grad():
            hidden = tower.run(tower.embed(row), row, 0, len(tower.layers))
            for index, question in enumerate(row.questions):
                branch = row.branches[index]
                alone = base.model(torch.from_numpy(row.prefix(index))[None]).logits[0]
                choices = [question.verdict, *(one for part in question.labels for one in part)]
                for choice, values in zip(choices, tower.read(hidden, choices), strict=True):
                    at = branch.fork + choice.at - branch.begin
                    expected = alone[at, list(choice.ids)]
                    assert (values - expected).abs().max() < 1e-4
                    spread.append(float(expected.std()))
    assert np.mean(spread) > 0.3  # logits that differ, so that another place would show


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    tiny(tmp_path / "hybrid", 2, "qwen3_5_text", **HYBRID)
    with pytest.raises(TrainingError, match="expected layers of attention"):
        open_base(tmp_path / "hybrid")


HYBRID: dict[str, Any] = {
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 2,
}


def test_few_prefixes_of_a_record_are_those_around_its_turn(place: Path, base: Base) -> None:
    """And what is left weighs as much as all of them did."""
    records = read_records([place / "long.jsonl"])
    every = pack(base, records, 4096)
    few = [Packer(base.encoder, base.labels, base.fields, 4096, 3).pack(one) for one in records]
    turned = 0
    for whole, part in zip(every, few, strict=True):
        kept = {question.step: question for question in part.questions}
        assert len(kept) == min(3, len(whole.questions))
        assert sum(question.weight for question in part.questions) == pytest.approx(1)
        for question in whole.questions:
            if question.step in kept:
                assert kept[question.step].unsafe == question.unsafe
        steps = [question.step for question in whole.questions]
        first = [question.step for question in whole.questions if question.unsafe][:1]
        near = {step for step in steps if first and step <= first[0]} if len(steps) > 1 else set()
        assert set(first) | {max(near - set(first), default=steps[-1]), steps[-1]} <= set(kept)
        turned += bool(first)
    assert turned
    again = [Packer(base.encoder, base.labels, base.fields, 4096, 3).pack(one) for one in records]
    assert [one.questions for one in again] == [one.questions for one in few]


def test_the_twin_of_an_unsafe_record_is_read_where_they_part(base: Base, tmp_path: Path) -> None:
    write(tmp_path / "made.jsonl", 3, 2, "train")
    packer = Packer(base.encoder, base.labels, base.fields, 4096, 2)
    for record in read_records([tmp_path / "made.jsonl"]):
        steps = [question.step for question in packer.pack(record).questions]
        assert record.meta["decisive_step"] in steps
