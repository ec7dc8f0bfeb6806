"""The shipped default guard: its real base gives the very bits that its calibrations are of."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from stepguard import Guard
from stepguard.default_guard import read_kept
from stepguard.default_guard.kept import read_calibrations
from stepguard.manifest import load
from tests.cli.ran import Ran

Run = Callable[..., Ran]
PAIR = Path(__file__).resolve().parents[3] / "examples" / "pair"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _base() -> None:
    if importlib.util.find_spec(read_kept().base.package) is None:
        pytest.skip("the base's package is not installed")


def test_the_export_is_calibrated_where_it_says_so_and_judges(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert run("default", "install").status == 0
    manifest = load(run("default", "path").out.strip())
    kept = read_calibrations("int8")
    assert {entry.model for entry in kept} == {manifest.sha256}
    assert manifest.calibration == kept
    known = {(entry.activations, entry.kv) for entry in kept}
    for activations in ("int8", "fp32"):
        with Guard.load(kv="fp16", activations=activations, save_prefix=False) as guard:
            assert guard.calibrated == ((activations, "fp16") in known)
            assert guard.trained
    ran = run("moderate", "default", PAIR / "safe.json", "--json")
    assert ran.status in (0, 10, 11)
    assert '"calibrated": true' in ran.out
    assert '"note": null' in ran.out
