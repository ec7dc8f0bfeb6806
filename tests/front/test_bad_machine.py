"""No usable ONNX Runtime, too little memory: refused, with what to do about it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from stepguard import Guard, Reason, Step
from stepguard.errors import RuntimeMissingError
from stepguard.manifest import load
from stepguard.runtime import _library
from tests.front.bad_cases import MEMORY
from tests.front.refused import complete


@pytest.mark.parametrize(
    ("wheels", "got"),
    [
        ({}, "none"),
        (
            {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.0"},
            "onnxruntime 1.32.0, onnxruntime-gpu 1.31.0",
        ),
        ({"onnxruntime-gpu": "1.31.0"}, "none"),  # its files are gone
    ],
    ids=["neither", "both", "damaged"],
)
def test_onnx_runtime_is_not_there_as_it_should(
    small_guards: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wheels: dict[str, str],
    got: str,
) -> None:
    def version(name: str) -> str:
        if name in wheels:
            return wheels[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(_library.metadata, "version", version)
    monkeypatch.setattr(_library, "_package_folder", lambda: tmp_path)
    with pytest.raises(RuntimeMissingError) as caught:
        Guard.load(small_guards["attention"], memory=MEMORY, save_prefix=False)
    complete(caught.value)
    assert caught.value.got == got
    assert "pip install" in caught.value.fix


def least_memory(model: Path) -> int:
    """Bytes of four KV pages and a small forward, as the refusal of less names them."""
    with pytest.raises(
        ValueError, match=r"^memory: expected at least \d+ bytes .*, got 1$"
    ) as caught:
        Guard.load(model, memory=1, save_prefix=False)
    return int(str(caught.value).split()[4])


def test_memory_for_less_than_the_prompt(small_guards: dict[str, Path]) -> None:
    model = small_guards["attention"]
    text = "expected room for the prompt's 208 tokens, got 5 pages of 32. Give more bytes"
    with pytest.raises(ValueError, match=r"^memory: ") as caught:
        Guard.load(model, memory=least_memory(model) + page_bytes(model), save_prefix=False)
    assert text in str(caught.value)


@pytest.mark.parametrize("window", ["strict", "window"])
def test_memory_for_little_more_than_the_prompt(small_guards: dict[str, Path], window: Any) -> None:
    model = small_guards["attention"]
    memory = least_memory(model) + 4 * page_bytes(model)
    with Guard.load(model, memory=memory, save_prefix=False) as guard:
        assert guard.stats()["pages_total"] == 8
        with guard.session(window=window) as session:
            for text in ("a", "many words " * 50, "b"):
                verdict = session.push(Step.user(text))
                assert verdict.reason in (None, Reason.MEMORY, Reason.OVERFLOW)
        assert guard.session().judge().reason in (None, Reason.MEMORY)


def page_bytes(model: Path) -> int:
    """Of one KV page, in all layers."""
    a = load(model).architecture
    return 2 * 2 * 32 * a.kv_heads * a.head_dim * a.attention_layers
