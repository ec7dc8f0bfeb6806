"""Probabilities of labels against transformers: the model's output masked to the labels, token by
token, on texts that are encoded as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


from stepguard.export import export_model  # noqa: E402
from stepguard.guard import Guard  # noqa: E402
from stepguard.prompt import Step, Trajectory, load_tokenizer  # noqa: E402
from stepguard.taxonomy import Dimension, Label, Taxonomy  # noqa: E402
from tests.export.tiny import make_checkpoint  # noqa: E402
from tests.oracle.checkpoints import load_reference  # noqa: E402
from tests.oracle.label_oracle import LINES, Made, Oracle, compare, diagnosed  # noqa: E402

torch.set_num_threads(1)  # small models: more threads only get in each other's way

TOLERANCE = 1e-3
SHARED = ["send a mail", "send a file", "send money", "read a file", "read a mail", "read an email"]
THINGS = ("agent", "action", "amount", "attacker", "flight", "email", "user", "records")
FORTY = [f"{word} {thing}" for word in ("an", "the", "all", "is", "please") for thing in THINGS]
NESTED = ["a", "a b", "a b c", "unsafe", "unsafe action", "x", "safe", "safe or unsafe", "the"]


def taxonomy(**labels: Sequence[str]) -> Taxonomy:
    return Taxonomy(
        "test",
        tuple(
            Label(Dimension(dimension), f"{dimension}-{i}", text, "a label of a test")
            for dimension, texts in labels.items()
            for i, text in enumerate(texts)
        ),
    )


SETS = taxonomy(risk_source=SHARED, failure_mode=FORTY, real_world_harm=NESTED)
TRAJECTORIES = [
    Trajectory("a helper" * (i % 2), (Step.user(f"book flight {i}"), Step.agent("go", f"pay({i})")))
    for i in range(2)
]


@pytest.fixture(scope="module", params=["llama", "qwen3_5_text"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("diagnosis")
    shape: dict[str, Any] = {"max_position_embeddings": 1024}
    if request.param == "qwen3_5_text":
        shape |= {
            "num_hidden_layers": 3,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 12,
            "linear_value_head_dim": 10,
            "head_dim": 24,
        }
    checkpoint = make_checkpoint(folder / "checkpoint", request.param, seed=3, **shape)
    model = folder / "model"
    export_model(checkpoint, model, quant="float32", template="short", taxonomy=SETS)
    tokenizer = load_tokenizer((model / "tokenizer.json").read_text())
    with Guard.load(model, memory=64 << 20, save_prefix=False, budget_ms=1000) as guard:
        yield Made(guard, tokenizer, SETS, load_reference(checkpoint))


@pytest.mark.parametrize("number", range(len(TRAJECTORIES)))
def test_the_masked_probabilities_of_transformers(made: Made, number: int) -> None:
    shares = compare(made, TRAJECTORIES[number], TOLERANCE)
    assert max(shares) < 0.99  # the model is in doubt, so that a fault would show


def test_averages_over_the_likeliest_answers(made: Made) -> None:
    oracle, trajectory = Oracle(made, TRAJECTORIES[0]), TRAJECTORIES[0]
    ours = diagnosed(made.guard, trajectory, top=3)
    answers: list[tuple[float, list[str]]] = [(1.0, [])]
    for dimension in LINES:
        asked = [
            (weight, before, *oracle.masked(oracle.spelt(dimension, before)))
            for weight, before in answers
        ]
        total = sum(weight for weight, *_ in asked)
        for label, share in ours.of(dimension).items():
            theirs = sum(weight * shares[label] for weight, _, shares, _ in asked) / total
            assert abs(share - theirs) < TOLERANCE
        beside = sum(weight * beside for weight, _, _, beside in asked) / total
        assert abs(ours.out_of_vocabulary[dimension] - beside) < TOLERANCE
        longer = [
            (weight * share, [*before, made.text(dimension, label)])
            for weight, before, shares, _ in asked
            for label, share in shares.items()
        ]
        answers = sorted(longer, key=lambda answer: -answer[0])[:3]
    one = diagnosed(made.guard, trajectory)
    assert one.risk_source == ours.risk_source
    assert one.failure_mode != ours.failure_mode
