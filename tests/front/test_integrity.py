"""The files are those of the manifest, before they are used and after."""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from pathlib import Path

import pytest

from stepguard import integrity
from stepguard.errors import ModelFormatError, ModelTamperedError
from stepguard.integrity import Identity, Verified, recheck, verify
from stepguard.known_files import KnownFiles
from stepguard.manifest import Manifest
from tests.front.manifests import sample

NAMES = ("model.onnx", "weights.bin", "tokenizer.json", "head.safetensors", "LICENSE")


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Manifest]:
    """A folder with small files, a few seconds old, and the manifest that describes them."""
    folder = tmp_path / "model"
    folder.mkdir()
    value = sample()
    for name in NAMES:
        data = f"the file {name}".encode() * 9
        (folder / name).write_bytes(data)
        value["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return folder, Manifest.from_dict(value)


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownFiles:
    monkeypatch.setattr(integrity, "_SETTLED_NS", -1)
    return KnownFiles(tmp_path / "cache")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files that go through the big hash, as they do."""
    sizes: list[int] = []
    real = hashlib.file_digest

    def spy(file: object, name: str) -> object:
        sizes.append(os.fstat(file.fileno()).st_size)  # type: ignore[attr-defined]
        return real(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(integrity.hashlib, "file_digest", spy)
    return sizes


def test_good_files(model: tuple[Path, Manifest]) -> None:
    folder, manifest = model
    with verify(folder, manifest) as verified:
        assert sorted(verified.identities) == sorted(NAMES)
        assert verified.tokenizer == (folder / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit(model: tuple[Path, Manifest], name: str) -> None:
    folder, manifest = model
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    found = hashlib.sha256(data).hexdigest()
    with pytest.raises(ModelTamperedError) as caught:
        verify(folder, manifest)
    assert name in caught.value.where
    assert caught.value.expected == f"sha256 {manifest.files[name].sha256}"
    assert caught.value.got == found


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_and_a_missing_file(model: tuple[Path, Manifest], name: str) -> None:
    folder, manifest = model
    os.truncate(folder / name, 7)
    with pytest.raises(ModelTamperedError, match="bytes, got 7 bytes"):
        verify(folder, manifest)
    (folder / name).unlink()
    with pytest.raises(ModelFormatError, match="No such file"):
        verify(folder, manifest)


def test_what_is_no_regular_file(model: tuple[Path, Manifest]) -> None:
    folder, manifest = model
    for make in (Path.mkdir, os.mkfifo):
        (folder / "weights.bin").unlink()
        make(folder / "weights.bin")  # type: ignore[operator]
        with pytest.raises(ModelFormatError, match="regular file"):
            verify(folder, manifest)
        (folder / "weights.bin").rmdir() if make is Path.mkdir else None
        (folder / "weights.bin").touch()


def test_descriptors_are_closed_after_a_failure(model: tuple[Path, Manifest]) -> None:
    folder, manifest = model
    (folder / "weights.bin").unlink()
    before = open_files()
    for _ in range(3):
        with pytest.raises(ModelFormatError):
            verify(folder, manifest)
    assert open_files() == before


def test_known_weights_are_not_hashed_again(
    model: tuple[Path, Manifest], known: KnownFiles, hashed: list[int]
) -> None:
    folder, manifest = model
    verify(folder, manifest, known=known).close()
    first = len(hashed)
    verify(folder, manifest, known=known).close()
    assert len(hashed) == 2 * first - 1  # all but the weights
    verify(folder, manifest).close()
    assert len(hashed) == 3 * first - 1


def test_known_weights_that_changed_are_hashed(
    model: tuple[Path, Manifest], known: KnownFiles
) -> None:
    folder, manifest = model
    verify(folder, manifest, known=known).close()
    weights = folder / "weights.bin"
    before = weights.stat()
    weights.write_bytes(bytes(before.st_size))
    # Size and mtime can be put back; the change time cannot.
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelTamperedError, match=r"weights\.bin"):
        verify(folder, manifest, known=known)


def test_a_list_that_knows_another_hash_is_no_excuse(
    model: tuple[Path, Manifest], known: KnownFiles, hashed: list[int]
) -> None:
    folder, manifest = model
    known.add(str(Identity.of((folder / "weights.bin").stat())), "f" * 64)
    verify(folder, manifest, known=known).close()
    assert (folder / "weights.bin").stat().st_size in hashed


def test_fresh_weights_are_not_remembered(model: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = model
    (folder / "weights.bin").touch()
    known = KnownFiles(tmp_path / "cache")
    verify(folder, manifest, known=known).close()
    assert known.sha256(str(Identity.of((folder / "weights.bin").stat()))) is None


@pytest.fixture
def loaded(model: tuple[Path, Manifest]) -> Verified:
    """Checked, and mapped as an engine would."""
    folder, manifest = model
    verified = verify(folder, manifest)
    with (folder / "weights.bin").open("rb") as file:
        verified.mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[attr-defined]
    return verified


def test_recheck_of_what_stayed(loaded: Verified) -> None:
    recheck(loaded)
    loaded.close()
    loaded.close()


@pytest.mark.parametrize("name", NAMES)
def test_recheck_of_what_was_replaced(loaded: Verified, name: str) -> None:
    path = loaded.folder / name
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)
    with pytest.raises(ModelTamperedError, match=name):
        recheck(loaded)


def test_recheck_of_what_was_written_to(loaded: Verified) -> None:
    time.sleep(0.01)
    with (loaded.folder / "model.onnx").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(ModelTamperedError, match=r"model\.onnx"):
        recheck(loaded)


def test_recheck_of_what_was_moved_away_and_back(loaded: Verified) -> None:
    path = loaded.folder / "weights.bin"
    time.sleep(0.01)
    path.rename(path.with_suffix(".old")).rename(path)
    with pytest.raises(ModelTamperedError, match=r"weights\.bin"):
        recheck(loaded)


def test_recheck_of_what_is_gone(loaded: Verified) -> None:
    (loaded.folder / "tokenizer.json").unlink()
    with pytest.raises(ModelTamperedError, match="No such file"):
        recheck(loaded)


def test_weights_that_nobody_mapped(model: tuple[Path, Manifest]) -> None:
    with verify(*model) as verified, pytest.raises(ModelTamperedError, match="no mapping"):
        recheck(verified)


def test_other_weights_mapped_under_the_name(loaded: Verified, tmp_path: Path) -> None:
    path = loaded.folder / "weights.bin"
    text = Path("/proc/self/maps").read_text()
    stranger = f"7f0000000000-7f0000001000 r--p 00000000 00:01 4242 {path.resolve()}\n"
    maps = tmp_path / "maps"

    class Growing(type(maps)):  # type: ignore[misc]
        """The real list and one line more."""

        def read_bytes(self) -> bytes:
            return Path("/proc/self/maps").read_bytes() + stranger.encode()

    maps.write_text(text)
    with pytest.raises(ModelTamperedError, match="got inode 4242"):
        integrity._check_mapping(loaded, Growing(maps))
    integrity._check_mapping(loaded, tmp_path / "absent")


def test_mapped_files_with_names_of_several_lines(loaded: Verified, tmp_path: Path) -> None:
    other = tmp_path / "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\rh"
    other.write_bytes(b"x")
    with other.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        recheck(loaded)
        found = [entry.path for entry in integrity._mappings(Path("/proc/self/maps"))]
    assert str(other.resolve()) in found
