"""`Guard.load()` without a path: the guard that comes with stepguard, or how to install it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepguard import Guard
from stepguard.default_guard import data_folder, installed, kept_folder, read_kept
from stepguard.default_guard.kept import CALIBRATION, calibration_name, read_calibrations
from stepguard.errors import ModelFormatError
from tests.front.manifests import sample

MOST_BYTES = 25_000_000


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return data_folder()


def write_manifest(folder: Path, adapter: str | None) -> None:
    value = sample()
    found = {"source": "a", "revision": "r", "sha256": adapter}
    value["origin"]["adapter"] = None if adapter is None else found
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(value))


def test_without_it_the_error_says_what_to_type(data: Path) -> None:
    with pytest.raises(ModelFormatError) as caught:
        Guard.load()
    assert caught.value.fix == "Type: stepguard default install"
    assert str(data) in caught.value.expected


@pytest.mark.parametrize("adapter", [None, "0" * 64])
def test_another_model_in_its_place_is_not_taken_for_it(data: Path, adapter: str | None) -> None:
    write_manifest(data, adapter)
    with pytest.raises(ModelFormatError) as caught:
        Guard.load()
    assert caught.value.fix == "Type: stepguard default install"


def test_where_it_is_installed_it_is_what_is_opened(data: Path) -> None:
    write_manifest(data, read_kept().adapter)
    assert installed() == data
    with pytest.raises(ModelFormatError) as caught:
        Guard.load()  # only its manifest is there
    assert str(data) in caught.value.where


def test_what_is_kept_agrees_with_itself() -> None:
    kept, folder = read_kept(), kept_folder()
    learned = json.loads((folder / "learned.json").read_text())
    assert sum(source.records for source in kept.learned.values()) == len(learned["records"])
    assert sorted(kept.learned) == learned["sources"]
    notice = (folder / "NOTICE").read_text()
    for name, source in kept.learned.items():
        assert name in notice
        assert all(model in notice for model in source.models)
        assert not any("llama" in model.lower() for model in source.models)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < MOST_BYTES


def test_what_is_calibrated_is_one_model_as_it_runs_when_nobody_says() -> None:
    found = read_calibrations("int8")
    names = {calibration_name(entry, "int8") for entry in found}
    assert "int8-int8-fp16.json" in names
    assert {path.name for path in (kept_folder() / CALIBRATION).glob("int8-*")} == names
    assert len({(entry.model, entry.prompt, entry.promise.data) for entry in found}) == 1
