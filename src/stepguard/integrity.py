"""The files of a model directory are those of its manifest: before they are used, and after.

Files are hashed through an open descriptor. ONNX Runtime opens them again by path, so `recheck`
asks afterwards whether the path still leads to what was hashed. Hashing gigabytes at every start
would be slow, so weights that were hashed before are known by device, inode, size and times.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepguard.errors import ModelFormatError, ModelTamperedError
from stepguard.known_files import KnownFiles
from stepguard.manifest import FileEntry, Manifest

WEIGHTS, TOKENIZER = "weights.bin", "tokenizer.json"
# A write so soon after the last one may leave the times as they were.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Identity:
    """Which file a descriptor is, and which state of it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Identity:
        """From what stat says."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def __str__(self) -> str:
        values = (self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns)
        return ":".join(map(str, values))


class Verified:
    """Files that were checked, held open until `close`.

    identities: by file name. contents: the bytes that were hashed, of files that are used whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identities: dict[str, Identity] = {}
        self.contents: dict[str, bytes] = {}
        self._descriptors: dict[str, int] = {}

    @property
    def tokenizer(self) -> bytes:
        """tokenizer.json."""
        return self.contents[TOKENIZER]

    def hold(self, name: str, descriptor: int, identity: Identity) -> None:
        """Takes over the descriptor of a checked file."""
        self._descriptors[name] = descriptor
        self.identities[name] = identity

    def descriptor(self, name: str) -> int:
        """The open descriptor of a checked file."""
        return self._descriptors[name]

    def close(self) -> None:
        """Closes the files; may be called twice."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> Verified:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def verify(folder: str | Path, manifest: Manifest, *, known: KnownFiles | None = None) -> Verified:
    """Checks size and sha256 of every file that the manifest names.

    Args:
        known: list of weights that need no second hashing; None hashes everything.

    Raises:
        ModelFormatError: a file is missing or cannot be read.
        ModelTamperedError: names the file, the expected and the found hash or size.
    """
    whole = {TOKENIZER, *(head.file for head in manifest.heads.values())}
    return verify_files(folder, manifest.files, whole=whole, big={WEIGHTS}, known=known)


def verify_files(
    folder: str | Path,
    files: Mapping[str, FileEntry],
    *,
    whole: Collection[str],
    big: Collection[str],
    known: KnownFiles | None,
) -> Verified:
    """`verify` of any folder: the contents of `whole` are kept; `known` may know the `big` ones."""
    verified = Verified(Path(folder))
    try:
        for name, entry in sorted(files.items()):
            list_ = known if name in big else None
            _verify_file(verified, name, entry, list_, whole=name in whole)
    except BaseException:
        verified.close()
        raise
    return verified


def recheck(verified: Verified) -> None:
    """Asks, after everything was opened by path, whether the paths still lead to the checked files.

    On Linux the mappings of the process must show the very weights that were hashed too.

    Raises:
        ModelTamperedError: a file was replaced, written to or cut since it was checked.
    """
    for name, identity in verified.identities.items():
        path = verified.folder / name
        try:
            now: Identity | str = Identity.of(path.stat())
        except OSError as error:
            now = error.strerror or type(error).__name__
        # The descriptor is asked too: a file that was moved away and back has a new ctime.
        held = Identity.of(os.fstat(verified.descriptor(name)))
        if now != identity or held != identity:
            raise ModelTamperedError(
                str(path),
                expected=f"the file that was checked ({identity})",
                got=str(now if now != identity else held),
                fix="It changed while it was loaded. Find out who writes to it, and load again.",
            )
    if WEIGHTS in verified.identities:
        _check_mapping(verified)


def _verify_file(
    verified: Verified, name: str, entry: FileEntry, known: KnownFiles | None, *, whole: bool
) -> None:
    path = verified.folder / name
    descriptor = _open(path)
    before = _hold(verified, name, descriptor, path)
    if before.size != entry.bytes:
        raise _tampered(path, f"{entry.bytes} bytes", f"{before.size} bytes")
    if known is not None and known.sha256(str(before)) == entry.sha256:
        return
    started = time.time_ns()
    with open(descriptor, "rb", closefd=False) as file:
        if whole:
            verified.contents[name] = file.read()
            found = hashlib.sha256(verified.contents[name]).hexdigest()
        else:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry.sha256:
        raise _tampered(path, f"sha256 {entry.sha256}", found)
    after = Identity.of(os.fstat(descriptor))
    if after != before:
        raise _tampered(path, f"a file at rest ({before})", f"one that is being written ({after})")
    if known is not None and started - before.ctime_ns > _SETTLED_NS:
        known.add(str(before), entry.sha256)


def _open(path: Path) -> int:
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer for ever.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ModelFormatError(
            str(path),
            expected="a file that the manifest names",
            got=error.strerror or type(error).__name__,
            fix="Export the model again.",
        ) from error


def _hold(verified: Verified, name: str, descriptor: int, path: Path) -> Identity:
    found = os.fstat(descriptor)
    identity = Identity.of(found)
    verified.hold(name, descriptor, identity)
    if not stat.S_ISREG(found.st_mode):
        kind = oct(stat.S_IFMT(found.st_mode))
        raise ModelFormatError(str(path), expected="a regular file", got=f"file type {kind}")
    return identity


def _tampered(path: Path, expected: str, got: str) -> ModelTamperedError:
    return ModelTamperedError(
        str(path),
        expected=expected,
        got=got,
        fix="Its manifest describes another file: export the model again.",
    )


@dataclass(frozen=True)
class _Mapping:
    begin: int
    end: int
    file: tuple[str, str]  # device and inode, as the kernel prints them
    path: str


def _mappings(maps: Path) -> Iterator[_Mapping]:
    # The kernel escapes the one character that ends a line; names of files may hold all others.
    text = maps.read_bytes().decode("utf-8", "surrogateescape")
    for line in filter(None, text.split("\n")):
        addresses, _, _, device, inode, *path = line.split(maxsplit=5)
        begin, end = (int(part, 16) for part in addresses.split("-"))
        yield _Mapping(begin, end, (device, inode), path[0] if path else "")


def _check_mapping(verified: Verified, maps: Path = Path("/proc/self/maps")) -> None:
    """The process maps the hashed weights, and no other file under their name.

    stat and the list of mappings may name the same file differently (layered file systems), so a
    page of the held descriptor is mapped and looked up, to learn its name there.
    """
    path = verified.folder / WEIGHTS
    if not maps.exists() or verified.identities[WEIGHTS].size == 0:
        return
    with mmap.mmap(verified.descriptor(WEIGHTS), 1, access=mmap.ACCESS_READ) as page:
        address = np.frombuffer(page, np.uint8).ctypes.data
        entries = list(_mappings(maps))
    own = next((entry for entry in entries if entry.begin <= address < entry.end), None)
    if own is None or own.file[1] == "0":
        return  # a kernel that does not say
    real = str(path.resolve())
    strangers = [entry for entry in entries if entry.path == real and entry.file != own.file]
    same = [entry for entry in entries if entry.file == own.file and entry != own]
    # Neighbouring mappings are shown as one: the page may lie inside a larger one.
    if strangers or not (same or own.end - own.begin > mmap.PAGESIZE):
        raise ModelTamperedError(
            str(path),
            expected=f"the checked file to be mapped (inode {own.file[1]})",
            got=f"inode {strangers[0].file[1]}" if strangers else "no mapping of it",
            fix="It was replaced while it was loaded. Find out by whom, and load again.",
        )
