"""Planted logs of decisions."""

from __future__ import annotations

from stepguard.audit import AuditLog
from tests.audit.verdicts import verdict
from tests.cli.planted import WORDS
from tests.cli.planted_place import Place
from tests.cli.ran import Ran


def audited(at: Place) -> Ran:
    path = at.folder / f"log{WORDS}"
    with AuditLog(path) as log:
        for step in range(3):
            log.decision(verdict(step=step), session=WORDS)
    path.write_bytes(path.read_bytes().replace(b"0.18", b"0.98") + WORDS.encode() + b"\n\x1b[2J")
    return at.run("audit", "verify", path)


def audited_nothing(at: Place) -> Ran:
    return at.run("audit", "verify", at.folder / WORDS)


def audited_hash(at: Place) -> Ran:
    return at.run("audit", "verify", at.folder / "log", "--anchor", WORDS)


def audited_locked(at: Place) -> Ran:
    with AuditLog(at.folder / WORDS):
        return at.run("moderate", "model", at.trajectory(), "--audit", at.folder / WORDS)


CASES = [audited, audited_nothing, audited_hash, audited_locked]
SHOW = {audited, audited_nothing}
