"""Small random guards, and servers of a fake one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="stepguard[serve] is not installed")

from stepguard.cli import main
from stepguard.export import export_model
from stepguard.server.run import Server
from tests.cli.ran import Ran
from tests.export.tiny import make_checkpoint
from tests.front.fakes import make_guard
from tests.server.client import Client
from tests.server.serving import Gate, on_thread


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights and the labels of the base taxonomy."""
    folder = tmp_path_factory.mktemp("served")
    checkpoint = make_checkpoint(
        folder / "checkpoint", "qwen3", seed=5, max_position_embeddings=4096
    )
    export_model(checkpoint, folder / "model", quant="int8", template="short", taxonomy="base")
    return folder / "model"


@pytest.fixture
def engine() -> Gate:
    return Gate()


@pytest.fixture
def served(engine: Gate, tmp_path: Path) -> Iterator[tuple[Client, Server]]:
    """A client and its server, on a fake engine."""
    with make_guard(engine) as guard, on_thread(guard, tmp_path) as found:
        yield found


@pytest.fixture
def client(served: tuple[Client, Server]) -> Client:
    return served[0]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`stepguard serve` with these words, for commands that fail."""

    def command(*words: object) -> Ran:
        status = main(["serve", *map(str, words)])
        found = capsys.readouterr()
        return Ran(status, found.out, found.err)

    return command
