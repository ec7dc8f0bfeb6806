"""Servers that are slow, silent, missing or of another user: a denial, in time."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.hook.asking import ask, reason
from tests.hook.hook_program import answer, serving


def test_a_slow_drip_does_not_hold_it(program: Path, tmp_path: Path) -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(200):
            connection.sendall(b"H")
            time.sleep(0.02)

    with serving(tmp_path / "s", drip):
        started = time.monotonic()
        done = ask(program, tmp_path / "s", "--timeout-ms", "300")
        assert time.monotonic() - started < 2
    assert "in time" in reason(done)


def test_silence_is_a_denial_in_time(program: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "s", lambda _: time.sleep(1)):
        started = time.monotonic()
        done = ask(program, tmp_path / "s", "--timeout-ms", "200")
        assert 0.19 < time.monotonic() - started < 1
    assert "in time" in reason(done)


def test_a_server_that_accepts_nothing(program: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(tmp_path / "s"))
            assert "in time" in reason(ask(program, tmp_path / "s", "--timeout-ms", "200"))


def test_no_server(program: Path, tmp_path: Path) -> None:
    assert "cannot be reached" in reason(ask(program, tmp_path / "none"))
    (tmp_path / "file").write_text("")
    assert "cannot be reached" in reason(ask(program, tmp_path / "file"))


@pytest.mark.parametrize("uid", ["12345", "4294967294"])
def test_a_server_of_another_user_hears_nothing(program: Path, tmp_path: Path, uid: str) -> None:
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))) as received:
        done = ask(program, tmp_path / "s", "--uid", uid)
        time.sleep(0.05)
    assert "another user" in reason(done)
    assert received in ([], [b""])
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))):
        assert ask(program, tmp_path / "s", "--uid", str(os.geteuid())).stdout == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_server_that_really_is_another_user(program: Path, tmp_path: Path) -> None:
    def as_nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)

    code = (
        "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.listen();"
        "print(flush=True);"
        "c, _ = s.accept(); c.recv(65536);"
        f"c.sendall({answer(b'')!r}); c.recv(1)"
    )
    for words, denies in (([], True), (["--uid", "65534"], False)):
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            number = listener.fileno()
            server = subprocess.Popen(
                ["python3", "-c", code, str(number)],
                pass_fds=[number],
                preexec_fn=as_nobody,
                stdout=subprocess.PIPE,
            )
            assert server.stdout is not None
            server.stdout.readline()
            done = ask(program, path, *words)
            server.kill()
            server.communicate()
        path.unlink()
        assert bool(done.stdout) == denies
        if denies:
            assert "another user" in reason(done)
