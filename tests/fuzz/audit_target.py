"""Logs of decisions: checked, and appended to whatever is there."""

from __future__ import annotations

from random import Random

from stepguard.audit import AuditLog, verify
from stepguard.audit.chain import START, digest, encode
from stepguard.errors import AuditError
from tests.audit.verdicts import verdict
from tests.fuzz.mutate import mutate_bytes, mutate_json
from tests.fuzz.target import Target, as_file


def run(data: bytes) -> None:
    path = as_file("log", data)
    path.chmod(0o600)
    before = verify([path])
    with AuditLog(path) as log:
        log.decision(verdict())
        head = log.head
    after = verify([path], anchor=head)
    # Nothing was taken away, what was added holds, and it hides nothing that was broken inside.
    assert path.read_bytes().startswith(data)
    assert after.after_anchor == 0
    assert after.unfinished == 0
    assert set(before.breaks[:-1]) <= set(after.breaks)
    # A line that was not finished is checked when it is.
    assert len(after.breaks) <= len(before.breaks) + (before.unfinished > 0)
    if not after.whole:
        raise AuditError("log", got="a broken one")


def seeds() -> list[bytes]:
    lines, prev = [], START
    for seq in range(4):
        line = encode(seq, prev, {"kind": "decision"} if seq < 3 else {"kind": "note"})
        lines.append(line + b"\n")
        prev = digest(line)
    return [b"", b"".join(lines), b"".join(lines) + b'{"v":1']


def _mutate(data: bytes, random: Random) -> bytes:
    if random.randrange(2):
        return mutate_bytes(data, random, _WORDS)
    lines = data.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    kind = random.randrange(3)
    if kind == 0:
        lines[at] = mutate_json(lines[at], random)
    elif kind == 1:
        del lines[at]
    else:
        lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]
    return b"".join(lines)


_WORDS = (b'"seq":', b'"prev":"', b'"kind":"note","note":"torn"', b"\n", b"\0")

TARGET = Target("audit", run, seeds, (AuditError,), _mutate, _WORDS)
