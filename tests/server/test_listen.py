"""Where a server listens: folders that others could change are refused, old sockets replaced."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from stepguard.errors import ServeError
from stepguard.server import read_token, unix_socket


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "run" / "guard.sock"
    with unix_socket(path, shared=False):
        assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    assert not path.exists()
    with unix_socket(tmp_path / "for-all" / "guard.sock", shared=True):
        assert (mode(tmp_path / "for-all"), mode(tmp_path / "for-all/guard.sock")) == (0o711, 0o666)


@pytest.mark.parametrize(("bits", "shared"), [(0o755, False), (0o711, False), (0o777, True)])
def test_a_folder_of_another_mode_is_refused(tmp_path: Path, bits: int, shared: bool) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(bits)
    with pytest.raises(ServeError, match="chmod"), unix_socket(folder / "a.sock", shared=shared):
        pass
    assert mode(folder) == bits


def test_nobody_is_told_to_close_a_folder_that_is_everybodys(tmp_path: Path) -> None:
    folder = tmp_path / "everybody"
    folder.mkdir()
    folder.chmod(0o1777)
    with (
        pytest.raises(ServeError, match="new folder") as found,
        unix_socket(folder / "a.sock", shared=False),
    ):
        pass
    assert "chmod" not in found.value.fix


def test_a_folder_below_one_that_others_can_write_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    path = open_to_all / "run" / "guard.sock"
    with pytest.raises(ServeError, match="nobody else"), unix_socket(path, shared=False):
        pass
    open_to_all.chmod(0o1777)  # as the folder for temporary files
    with unix_socket(path, shared=False):
        pass


def test_a_link_is_no_folder_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with pytest.raises(ServeError), unix_socket(tmp_path / "run" / "a.sock", shared=False):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(ServeError, match="65534"), unix_socket(folder / "a.sock", shared=False):
        pass


def test_one_server_at_a_time_and_old_sockets_make_room(tmp_path: Path) -> None:
    path = tmp_path / "run" / "guard.sock"
    with unix_socket(path, shared=False):
        with pytest.raises(ServeError, match="no other server"), unix_socket(path, shared=False):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))  # the first one still listens
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with unix_socket(path, shared=False), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_another_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "guard.sock"
    path.parent.mkdir(mode=0o700)
    path.write_text("mine")
    with pytest.raises(ServeError, match="another file"), unix_socket(path, shared=False):
        pass
    assert path.read_text() == "mine"


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "a.sock"
    with pytest.raises(ServeError, match="107"), unix_socket(path, shared=False):
        pass


def test_tokens_are_private_and_long(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 32 + "\n")
    path.chmod(0o640)
    with pytest.raises(ServeError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == "x" * 32
    for bad in ("x" * 31, "x" * 16 + " " + "x" * 16, "\u00e9" * 40, ""):
        path.write_text(bad)
        with pytest.raises(ServeError, match="32"):
            read_token(path)
    with pytest.raises(ServeError) as found:
        read_token(Path("/dev/null"))
    assert "chmod" not in found.value.fix, "a device is not to be closed to everybody else"
    with pytest.raises(ServeError, match=path.parent.name):
        read_token(path.parent)
