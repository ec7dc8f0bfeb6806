"""Builds stepguard-hook, and servers that answer it as they please."""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("main.cc", "ask.cc", "answer.cc", "options.cc")
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Werror")
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
QUICK = ("-O2", "-static-libstdc++", "-static-libgcc")


@functools.cache
def _compiler() -> str:
    found = shutil.which("g++") or shutil.which("clang++")
    if found is None:
        pytest.skip("no C++ compiler")
    return found


def build(folder: Path, name: str, sources: tuple[str, ...], *flags: str) -> Path:
    """Compiles sources of hook/ (or paths of tests) into a program."""
    files = [str(ROOT / "hook" / source) for source in sources]
    command = [_compiler(), *FLAGS, *flags, f"-I{ROOT / 'hook'}", *files, "-o", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / name


Talk = Callable[[socket.socket], None]


@contextmanager
def serving(path: Path, talk: Talk) -> Iterator[list[bytes]]:
    """Accepts connections and lets `talk` do what it wants with each; gives what was sent to it."""
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    received.append(request_of(connection))
                    talk(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield received
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            path.unlink()


def request_of(connection: socket.socket) -> bytes:
    """A whole request, by its Content-Length."""
    connection.settimeout(5)
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    """An answer as a proper server writes it."""
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%s" % (status, more)
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
