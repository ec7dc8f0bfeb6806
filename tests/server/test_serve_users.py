"""A server and clients of other users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.client import Client
from tests.server.serving import ROOT, as_command
from tests.server.slow_server import level

FOREIGN = 65534


# A guard as a user of its own, which an agent of another user cannot touch.
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)


@as_root
def test_foreign_users_are_not_heard_and_sessions_belong_to_their_user(
    model: Path, open_folder: Path
) -> None:
    path = open_folder / "run" / "guard.sock"
    with as_command(model, "--socket", path, "--clients", "12345,12346") as server:
        assert probe(path, 0) == "200"
        assert probe(path, FOREIGN) == "refused"
        assert level(Client(path), "stepguard_refused_connections_total") == 1
        session = probe(path, 12345, "open")
        assert probe(path, 12345, session) == "200"
        assert probe(path, 12346, session) == "404"
        assert server.end() == 0


@as_root
@pytest.mark.slow
def test_without_clients_nobody_else_finds_the_socket(model: Path, open_folder: Path) -> None:
    path = open_folder / "run" / "guard.sock"
    with as_command(model, "--socket", path):
        assert probe(path, FOREIGN) == "no way"


@as_root
def test_a_server_of_another_user(model: Path, open_folder: Path) -> None:
    folder = open_folder / "run"
    folder.mkdir()
    folder.chmod(0o711)
    os.chown(folder, 12345, 12345)
    readable = open_folder / "model"
    shutil.copytree(model, readable)
    as_other = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups")
    options = ("--socket", folder / "guard.sock", "--clients", FOREIGN)
    cache = open_folder / "cache"
    cache.mkdir()
    os.chown(cache, 12345, 12345)
    with as_command(readable, *options, prefix=as_other, XDG_CACHE_HOME=str(cache)):
        assert probe(folder / "guard.sock", FOREIGN) == "200"
        assert probe(folder / "guard.sock", 12346) == "refused"
        # What an agent of another user could do to a guard of its own user:
        assert denied(FOREIGN, f"open({str(folder / 'other.sock')!r}, 'w')")
        assert denied(FOREIGN, f"__import__('os').unlink({str(folder / 'guard.sock')!r})")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can go through. Not one of pytest's own, which every run that
    begins closes to them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


PROBE = """
import os, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from tests.server.client import *
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
client, what = Client(Path(sys.argv[1]), timeout=10), sys.argv[4]
try:
    if what == "open":
        print(client.open().rpartition("/")[2])
    elif what:
        print(client.post(f"/v1/sessions/{what}/push", {"step": ACTION}).status)
    else:
        print(client.send("GET", "/health").status)
except (ConnectionResetError, BrokenPipeError):
    print("refused")
except PermissionError:
    print("no way")
except Exception as error:
    print(repr(error))
"""


def probe(path: Path, uid: int, what: str = "") -> str:
    """What a client of that user is told."""
    command = [sys.executable, "-c", PROBE, str(path), str(uid), str(ROOT), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def denied(uid: int, code: str) -> bool:
    """Whether that user may not do it."""
    changed = f"import os; os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n{code}"
    done = subprocess.run([sys.executable, "-c", changed], capture_output=True, check=False)
    return b"PermissionError" in done.stderr
