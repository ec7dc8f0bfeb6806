"""stepguard-hook: whatever the server does, a call runs only after a proper "no opinion"."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.hook.hook_program import QUICK, SANITIZE, SOURCES, answer, build, serving

DENY = (
    b'{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny",'
    b'"permissionDecisionReason":"Blocked by stepguard: the verdict is unsafe."}}'
)
EVENT = json.dumps({"hook_event_name": "PreToolUse", "tool_input": {"a": "\u00e9\n"}}).encode()
HOSTS = ["claude-code", "codex"]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sanitizers: a fault in it is an exit status that no test expects."""
    return build(tmp_path_factory.mktemp("hook"), "stepguard-hook", SOURCES, *SANITIZE)


def ask(
    program: Path, path: Path, *words: str, host: str = "codex", event: bytes = EVENT
) -> subprocess.CompletedProcess[bytes]:
    command = [str(program), host, "--socket", str(path), "--timeout-ms", "4000", *words]
    return subprocess.run(command, input=event, capture_output=True, timeout=30, check=False)


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why it denied, after a look at the whole answer: nothing in it but what both hosts know."""
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)["hookSpecificOutput"]
    assert json.loads(done.stdout) == {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": output["permissionDecisionReason"],
        }
    }
    assert output["permissionDecisionReason"]
    return str(output["permissionDecisionReason"])


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


@pytest.mark.parametrize("event", [b"", b" " * ((16 << 20) + 1)])
def test_events_that_cannot_be_read(program: Path, tmp_path: Path, event: bytes) -> None:
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))):
        done = ask(program, tmp_path / "s", event=event)
    assert "could not be read" in reason(done)


def test_an_event_that_never_ends(program: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    command = [str(program), "codex", "--socket", str(tmp_path / "s"), "--timeout-ms", "200"]
    done = subprocess.run(command, stdin=read, capture_output=True, timeout=20, check=False)
    os.close(read)
    os.close(write)
    assert "could not be read" in reason(done)


def test_a_large_event_arrives_whole(program: Path, tmp_path: Path) -> None:
    event = os.urandom(3 << 20)
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))) as received:
        assert ask(program, tmp_path / "s", event=event).stdout == b""
    assert received[0].partition(b"\r\n\r\n")[2] == event


def test_events_that_no_tool_waits_for_fail_loudly(program: Path, tmp_path: Path) -> None:
    failed = ask(program, tmp_path / "none", "--observe")
    assert (failed.returncode, failed.stdout) == (2, b"")
    assert b"cannot be reached" in failed.stderr
    with serving(tmp_path / "s", lambda c: c.sendall(answer(DENY))):
        assert ask(program, tmp_path / "s", "--observe").returncode == 2
    with serving(tmp_path / "s", lambda c: c.sendall(answer(b""))):
        done = ask(program, tmp_path / "s", "--observe")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["claude"],
        ["codex"],
        ["codex", "--socket"],
        ["codex", "--socket", ""],
        ["codex", "--socket", "x" * 200],
        ["codex", "--socket", "s", "--uid", "-1"],
        ["codex", "--socket", "s", "--uid", "4294967295"],
        ["codex", "--socket", "s", "--timeout-ms", "0"],
        ["codex", "--socket", "s", "--timeout-ms", "99999999999"],
        ["codex", "--socket", "s", "--allow"],
    ],
)
def test_wrong_usage_blocks(program: Path, words: list[str]) -> None:
    done = subprocess.run([program, *words], input=EVENT, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"usage: stepguard-hook")


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
