"""Random checkpoints and what export makes of them, once per run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.oracle.checkpoints import Case


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """made(case) -> (checkpoint folder, model directory), each made once."""
    from stepguard.export import export_model
    from tests.oracle.checkpoints import write_checkpoint

    @cache
    def make(name: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(name)
        checkpoint = write_checkpoint(folder / "checkpoint", by_name[name])
        export_model(
            checkpoint, folder / "model", quant="float32", template="short", rationale=True
        )
        return checkpoint, folder / "model"

    by_name: dict[str, Case] = {}

    def made_of(case: Case) -> tuple[Path, Path]:
        by_name[str(case)] = case
        return make(str(case))

    return made_of
