"""A classifier that optimum exported, run by our session, against PyTorch with transformers."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from stepguard import Screen, Status
from stepguard.cli import main
from stepguard.errors import ExportError
from stepguard.export.screen import ScreenOptions, export_screen
from stepguard.export.screen_python import find_python, install
from stepguard.manifest.screen import load_screen
from stepguard.runtime import Classifier
from stepguard.spans import spans

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("screen_checkpoints.py")
KINDS = ["bert", "deberta-v2", "modernbert"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment with optimum, made once into build/optimum."""
    folder = ROOT / "build" / "optimum"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.parent / "optimum.lock"):
        try:
            return find_python(None, folder)
        except ExportError:
            pass
        try:
            # The torch that is here: others may come with gigabytes for GPUs.
            install(folder, also=[f"torch=={torch.__version__}"])
            return find_python(None, folder)
        except ExportError as error:
            pytest.skip(f"no environment with optimum can be made: {error}")


@pytest.fixture(scope="module", params=KINDS)
def exported(
    request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A checkpoint and its screen."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint, out = folder / "checkpoint", folder / "screen"
    checkpoint.mkdir()
    subprocess.run([python, "-I", SCRIPT, request.param, checkpoint], check=True)
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n")
    words = ["screen", "export", str(checkpoint), str(out), "--python", str(python.parent.parent)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*words, "--json"]) == 0
    manifest = load_screen(out)
    shown = json.loads(printed.getvalue())
    assert shown["sha256"] == manifest.sha256
    assert manifest.to_dict().items() <= shown.items()
    assert manifest.architecture == request.param
    assert (manifest.labels, manifest.flagged) == (("SAFE", "INJECTION", "OTHER"), ("INJECTION",))
    assert (manifest.window, manifest.overlap) == (64, 16)
    assert (manifest.begin, manifest.end) == ((1,), (2,))
    assert manifest.licence.name == "mit"
    return checkpoint, out


def test_it_is_what_pytorch_computes(exported: tuple[Path, Path]) -> None:
    checkpoint, out = exported
    known = json.loads((checkpoint / "logits.json").read_text())
    classifier = Classifier(out / "model.onnx")
    spread = 0.0
    for ids, expected in zip(known["ids"], known["logits"], strict=True):
        found = classifier.run(np.array([ids], np.int64))
        np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-4)
        again = classifier.run(np.array([ids], np.int64))
        assert (again == found).all()
        spread = max(spread, float(np.ptp(expected)))
    assert spread > 0.1, "logits that are all the same would prove nothing"


def test_a_long_text_is_the_worst_of_its_windows(exported: tuple[Path, Path]) -> None:
    """The windows and the margin made again, with PyTorch's tokenizer law and numpy."""
    _, out = exported
    screen, classifier = Screen.load(out), Classifier(out / "model.onnx")
    words = np.random.default_rng(1).integers(0, 96, 500)
    verdict = screen.check(" ".join(f"w{n}" for n in words))
    ids = words + 4
    margins = []
    for left, right in spans(len(ids), 62, 16, full=True):
        row = np.array([[1, *ids[left:right], 2]], np.int64)
        safe, attack, other = classifier.run(row)[0].astype(np.float64)
        margins.append(attack - np.log(np.exp(safe) + np.exp(other)))
    assert len(margins) == verdict.windows > 5
    assert verdict.margin == pytest.approx(max(margins), abs=1e-9)
    assert verdict.status is (Status.UNSURE if max(margins) >= 0 else Status.SAFE)


def test_other_checkpoints_are_refused_by_name(python: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "c"
    checkpoint.mkdir()
    subprocess.run([python, "-I", SCRIPT, "bert", checkpoint], check=True)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    with pytest.raises(ExportError, match="bert, deberta-v2, modernbert, got roberta"):
        export_screen(checkpoint, tmp_path / "out", python=python)
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="at most the 64 tokens that the model reads, got 65"):
        export_screen(checkpoint, tmp_path / "out", python=python, options=ScreenOptions(window=65))
    assert not (tmp_path / "out").exists()


def test_the_command_checks_a_text(
    exported: tuple[Path, Path],
    python: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint, out = exported
    text = tmp_path / "text"
    text.write_text("w1 w2 w3")
    assert main(["screen", "check", str(out), str(text), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["mode"], verdict["windows"], verdict["tokens_read"]) == ("screen", 1, 3)
    with pytest.raises(ExportError, match="a folder with files in it"):
        export_screen(checkpoint, out, python=python)
