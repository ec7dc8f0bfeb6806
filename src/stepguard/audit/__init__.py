"""A log of decisions: a JSON line each, in a chain of hashes."""

from __future__ import annotations

from stepguard.audit.chain import START
from stepguard.audit.entry import Outcome, hash_step
from stepguard.audit.log import AuditLog
from stepguard.audit.recorder import Recorder
from stepguard.audit.verify import Break, Checked, verify

__all__ = ["START", "AuditLog", "Break", "Checked", "Outcome", "Recorder", "hash_step", "verify"]
