"""Errors as clients see them: one JSON object, never a traceback."""

from __future__ import annotations

import logging
import math

from starlette.exceptions import HTTPException

from stepguard.errors import (
    EngineClosed,
    ForkedProcessError,
    SessionClosed,
    StepguardError,
    TaxonomyError,
    VerdictError,
)
from stepguard.server.answer import Answer

_log = logging.getLogger("stepguard.server")

_STATUS = {
    VerdictError: 409,
    TaxonomyError: 409,
    SessionClosed: 404,
    EngineClosed: 503,
    ForkedProcessError: 503,
}


class Fault(Exception):
    """An answer that is an error: its HTTP status and the fields of `{"error": {...}}`."""

    def __init__(
        self,
        status: int,
        kind: str,
        where: str,
        *,
        expected: str = "",
        got: str = "",
        hint: str = "",
        retry_s: float | None = None,
        ends: bool = False,
    ) -> None:
        super().__init__(f"{status} {kind}: {where}: expected {expected}, got {got}")
        self.status, self.kind, self.where = status, kind, where
        self.expected, self.got, self.hint = expected, got, hint
        self.retry_s, self.ends = retry_s, ends

    def response(self) -> Answer:
        """`ends` closes the connection, whose request was not read to its end."""
        headers = {}
        if self.retry_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_s)))
        if self.ends:
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        fields = {"type": self.kind, "where": self.where, "expected": self.expected}
        content = {"error": {**fields, "got": self.got, "hint": self.hint}}
        return Answer(content, self.status, headers)


def fault_of(error: Exception) -> Fault:
    """Any exception as an answer. What nobody foresaw goes to the log, and clients learn no more
    than that it happened."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, HTTPException):
        return Fault(error.status_code, "NoSuchEndpoint", "the request", got=error.detail)
    if isinstance(error, StepguardError):
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
        return Fault(
            status,
            type(error).__name__,
            error.where,
            expected=error.expected,
            got=error.got,
            hint=error.fix,
        )
    _log.error("a request failed", exc_info=error)
    return Fault(500, "Internal", "the server", hint="Its log says what happened.")
