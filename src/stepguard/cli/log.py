"""The options that commands write a log of decisions with."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext

from stepguard.audit import AuditLog


def add_audit(parser: argparse.ArgumentParser) -> None:
    """Adds `--audit` and `--audit-content`."""
    parser.add_argument(
        "--audit", metavar="LOG", help="append every decision to a log, as docs/audit.md describes"
    )
    parser.add_argument(
        "--audit-content", action="store_true", help="log the steps too, not only their hashes"
    )


def open_log(arguments: argparse.Namespace) -> AbstractContextManager[AuditLog | None]:
    """The log of `--audit`, where it was given. Raises AuditError."""
    if arguments.audit is None:
        return nullcontext()
    return AuditLog(arguments.audit, content=arguments.audit_content)
