"""Where a server listens: a Unix socket in a folder of its owner, or a port of this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepguard.errors import ServeError
from stepguard.private_files import cache_folder

_LONGEST = 107  # bytes of a path, Linux' sun_path
_BACKLOG = 256
_LEAST_TOKEN = 32


def default_path() -> Path:
    """In the user's runtime folder, or in the cache. Raises ServeError without either."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    folder = runtime / "stepguard" if runtime.is_absolute() else cache_folder()
    if folder is None:
        raise ServeError("--socket", expected="a path, for a user without a home")
    return folder / "run" / "guard.sock"


@contextmanager
def unix_socket(path: Path, *, shared: bool) -> Iterator[socket.socket]:
    """A listening socket; it is removed at the end.

    shared: other users may connect, for whom the folder is made 0711 instead of 0700. Raises
    ServeError where the folder is not private, or another server has it.
    """
    path = path.absolute()
    if len(os.fsencode(path)) > _LONGEST:
        raise ServeError(str(path), expected=f"a path of at most {_LONGEST} bytes")
    _make_folder(path.parent, shared)
    _require_folder(path.parent, 0o711 if shared else 0o700)
    with _only_one(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _remove_stale(path)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        if shared:
            path.chmod(0o666)  # who may connect is checked by uid at every connection
        try:
            listener.listen(_BACKLOG)
            yield listener
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


@contextmanager
def tcp_socket(port: int) -> Iterator[socket.socket]:
    """A listening socket of this machine's own address. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
        yield listener


def read_token(path: Path) -> str:
    """The token of a file that only its user can read. Raises ServeError, OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = os.fstat(handle)
        regular = stat.S_ISREG(found.st_mode)
        if not regular or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            fix = f"chmod 600 {path}" if regular else "Write the token into a file of its own."
            expected = "a file that only you can read"
            raise ServeError(str(path), expected=expected, got="another", fix=fix)
        token = os.read(handle, 4096).strip().decode("ascii", "replace")
    finally:
        os.close(handle)
    good = len(token) >= _LEAST_TOKEN and all(33 <= ord(sign) < 127 for sign in token)
    if not good:
        expected = f"at least {_LEAST_TOKEN} printable ASCII characters without blanks"
        fix = "head -c 32 /dev/urandom | base64 makes one."
        raise ServeError(str(path), expected=expected, got=f"{len(token)}, or others", fix=fix)
    return token


def _make_folder(folder: Path, shared: bool) -> None:
    """Folders on the way are made only where nobody else has to go through them."""
    if not shared:
        for above in reversed(folder.parents):
            above.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o711 if shared else 0o700)


def _require_folder(folder: Path, mode: int) -> None:
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not own or stat.S_IMODE(found.st_mode) != mode:
        expected = f"a folder of your own with mode {mode:04o}"
        got = f"uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
        fix = "Name a path in a new folder."
        if own and not found.st_mode & stat.S_ISVTX:  # never a folder that is there for everybody
            fix = f"Name a path in a new folder, or chmod {mode:o} {folder}."
        raise ServeError(str(folder), expected=expected, got=got, fix=fix)
    for above in folder.resolve().parents:
        # Who can rename a folder on the way can put another socket in place of ours.
        info = above.stat()
        sticky = info.st_mode & stat.S_ISVTX
        if info.st_uid not in (0, os.geteuid()) or (info.st_mode & 0o022 and not sticky):
            expected = "a folder that nobody else can write"
            got = f"uid {info.st_uid}, mode {stat.S_IMODE(info.st_mode):04o}"
            raise ServeError(str(above), expected=expected, got=got, fix="Name another --socket.")


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fix = "Stop it, or name another --socket."
            expected = "no other server at this socket"
            raise ServeError(str(path), expected=expected, got="one", fix=fix) from None
        yield
    finally:
        os.close(handle)


def _remove_stale(path: Path) -> None:
    """A server that was killed leaves its socket behind; anything else is not ours to remove."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ServeError(str(path), expected="nothing, or an old socket", got="another file")
    path.unlink()
