"""stepguard-hook: whatever the server says, a call runs only after a proper "no opinion"."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.hook.asking import DENY, EVENT, HOSTS, ask, reason
from tests.hook.hook_program import QUICK, SOURCES, answer, build, serving


@pytest.mark.parametrize("host", HOSTS)
def test_no_opinion_is_no_byte(program: Path, tmp_path: Path, host: str) -> None:
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))) as received:
        done = ask(program, tmp_path / "s", host=host)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert body == EVENT
    assert head.startswith(f"POST /v1/hooks/{host} HTTP/1.1\r\n".encode())
    asked = int(head.split(b"Stepguard-Deadline-Ms: ")[1].split(b"\r\n")[0])
    assert 1000 < asked <= 3600


@pytest.mark.parametrize("host", HOSTS)
def test_a_denial_is_printed_as_it_is(program: Path, tmp_path: Path, host: str) -> None:
    with serving(tmp_path / "s", lambda c: c.sendall(answer(DENY))):
        done = ask(program, tmp_path / "s", host=host)
    assert (done.returncode, done.stdout) == (0, DENY)


def test_only_claude_code_can_be_told_to_ask(program: Path, tmp_path: Path) -> None:
    said = DENY.replace(b'"deny"', b'"ask"')
    with serving(tmp_path / "s", lambda c: c.sendall(answer(said))):
        assert ask(program, tmp_path / "s", host="claude-code").stdout == said
        assert "no proper answer" in reason(ask(program, tmp_path / "s", host="codex"))


ODD = {
    "allow": answer(DENY.replace(b'"deny"', b'"allow"')),
    "empty object": answer(b"{}"),
    "no reason": answer(DENY.replace(b"Blocked by stepguard: the verdict is unsafe.", b"")),
    "a field more": answer(DENY[:-1] + b',"continue":true}'),
    "a quote in the reason": answer(DENY.replace(b"unsafe", b'un"safe')),
    "an escape in the reason": answer(DENY.replace(b"unsafe", b"un\\u0000")),
    "a long reason": answer(DENY.replace(b"unsafe", b"x" * 700)),
    "a byte more": answer(DENY) + b"\n",
    "a second answer": answer(b"") + answer(b""),
    "status 500": answer(b"", b"500 Internal Server Error"),
    "status 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "status 429": answer(b"", b"429 Too Many Requests"),
    "status 2000": answer(b"", b"2000 OK"),
    "HTTP/1.0": answer(b"").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no length": b"HTTP/1.1 200 OK\r\n\r\n",
    "two lengths": answer(b"", more=b"Content-Length: 0\r\n"),
    "a negative length": answer(b"").replace(b": 0", b": -1"),
    "a huge length": answer(b"").replace(b"Length: 0", b"Length: 9999"),
    "a length of 30 digits": answer(b"").replace(b"Length: 0", b"Length: " + b"0" * 30),
    "chunks": answer(b"", more=b"Transfer-Encoding: chunked\r\n"),
    "a line without colon": answer(b"", more=b"hello\r\n"),
    "a huge head": answer(b"", more=b"X: " + b"x" * 20000 + b"\r\n"),
    "no head": b"x" * 100_000,
    "zeros": b"\0" * 100,
}


@pytest.mark.parametrize("odd", ODD)
def test_other_answers_are_denials(program: Path, tmp_path: Path, odd: str) -> None:
    with serving(tmp_path / "s", lambda c: c.sendall(ODD[odd])):
        for host in HOSTS:
            found = reason(ask(program, tmp_path / "s", host=host))
            assert "no proper answer" in found or "ended the connection" in found


def test_answers_that_break_off(program: Path, tmp_path: Path) -> None:
    whole = answer(DENY)
    for cut in [0, 1, 12, whole.index(b"\r\n\r\n") + 2, len(whole) - len(DENY), len(whole) - 1]:
        with serving(tmp_path / "s", lambda c, cut=cut: c.sendall(whole[:cut])):
            assert "ended the connection" in reason(ask(program, tmp_path / "s"))


def test_an_answer_in_any_pieces(program: Path, tmp_path: Path) -> None:
    def drip(connection: socket.socket) -> None:
        for byte in answer(DENY):
            connection.sendall(bytes([byte]))

    with serving(tmp_path / "s", drip):
        assert ask(program, tmp_path / "s").stdout == DENY


def test_an_answer_that_cannot_be_printed_blocks(program: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [str(program), "codex", "--socket", str(tmp_path / "none")]
        done = subprocess.run(
            command, input=EVENT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert b"stepguard" in done.stderr
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    assert subprocess.run(closed, input=EVENT, capture_output=True, check=False).returncode == 2


def test_random_answers(program: Path, tmp_path: Path) -> None:
    """Mutations of proper answers: only the proper ones themselves get through."""
    rng = random.Random(3)
    proper = [answer(b""), answer(DENY)]
    for _ in range(60):
        data = bytearray(rng.choice(proper))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data))
            data[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        with serving(tmp_path / "s", lambda c, data=data: c.sendall(bytes(data))):
            done = ask(program, tmp_path / "s", "--timeout-ms", "1000")
        assert done.returncode == 0, done.stderr
        if done.stdout == b"":
            head, _, body = bytes(data).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert body == b""
        else:
            reason(done)


@pytest.mark.slow
def test_it_starts_in_ten_milliseconds(tmp_path: Path) -> None:
    """The median of many runs, with a server that answers at once: what a tool call waits for."""
    program = build(tmp_path, "quick", SOURCES, *QUICK)
    times = []
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))):
        for _ in range(60):
            started = time.perf_counter()
            ask(program, tmp_path / "s")
            times.append(time.perf_counter() - started)
    print(f"median {sorted(times)[30] * 1e3:.2f} ms, least {min(times) * 1e3:.2f} ms")
    assert sorted(times)[30] < 0.010
