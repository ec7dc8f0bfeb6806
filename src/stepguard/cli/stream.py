"""Steps as they come, a verdict line each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from stepguard.cli.files import json_lines, located
from stepguard.errors import TrajectoryError
from stepguard.guard import Guard
from stepguard.prompt import Step
from stepguard.taxonomy import Verdict

_WHERE = "standard input"


def moderate(guard: Guard, lines: Iterable[bytes], out: TextIO) -> list[Verdict]:
    """Reads `{"profile": ...}` and then a step a line; writes a line of JSON per verdict, flushed.

    A stream without an action gets one verdict at its end.

    Raises:
        TrajectoryError: names the line; what came before was read and answered.
    """
    found = json_lines(lines, _WHERE)
    verdicts: list[Verdict] = []
    with guard.session(_profile(next(found, None))) as session:
        steps = 0
        for where, value in found:
            step = _step(where, value)
            steps += 1
            if (verdict := session.follow(step)) is not None:
                verdicts.append(_say(verdict, out))
        if not steps:
            raise TrajectoryError(_WHERE, expected="a step after the profile", got="none")
        if not verdicts:
            verdicts.append(_say(session.judge(), out))
    return verdicts


def _say(verdict: Verdict, out: TextIO) -> Verdict:
    out.write(verdict.to_json() + "\n")
    out.flush()
    return verdict


def _profile(first: tuple[str, object] | None) -> str:
    where, value = first or (f"{_WHERE}: line 1", None)
    profile = value.get("profile") if isinstance(value, dict) else None
    if not isinstance(profile, str) or "role" in (value if isinstance(value, dict) else {}):
        raise TrajectoryError(
            where,
            expected='{"profile": TEXT} before the steps',
            got="nothing" if value is None else type(value).__name__,
            fix='An agent without a profile is {"profile": ""}.',
        )
    return profile


def _step(where: str, value: object) -> Step:
    try:
        return Step.from_dict(value)
    except TrajectoryError as error:
        raise located(error, where) from error
