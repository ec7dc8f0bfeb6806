"""The closed list of errors that stepguard raises.

Every message says where it happened, what was expected, what was found and what to do about it.
Run-time conditions of a check (deadline, memory, numeric ...) are never raised: they are statuses
of the verdict. These classes are for misuse and for loading.
"""

from __future__ import annotations

import os

__all__ = [
    "EngineClosed",
    "ExportError",
    "ForkedProcessError",
    "ModelFormatError",
    "ModelTamperedError",
    "PromptError",
    "RuntimeMissingError",
    "SessionClosed",
    "StepguardError",
    "TaxonomyError",
    "TokenizerError",
    "TrajectoryError",
    "VerdictError",
]


class StepguardError(Exception):
    """Base of all errors of stepguard; `where`, `expected`, `got` and `fix` are attributes."""

    def __init__(self, where: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        self.where, self.expected, self.got, self.fix = where, expected, got, fix
        parts = [where]
        if expected:
            parts.append(f"expected {expected}")
        if got:
            parts.append(f"got {got}")
        text = ": ".join([parts[0], ", ".join(parts[1:])] if len(parts) > 1 else parts)
        super().__init__(f"{text}. {fix}" if fix else text)

    def __reduce__(self) -> tuple[object, ...]:
        fields = {"expected": self.expected, "got": self.got, "fix": self.fix}
        return (_rebuild, (type(self), self.where, fields))


def _rebuild(kind: type[StepguardError], where: str, fields: dict[str, str]) -> StepguardError:
    return kind(where, **fields)


class ModelFormatError(StepguardError):
    """A model directory, checkpoint or graph that cannot be used as it is."""


class ModelTamperedError(ModelFormatError):
    """A file of a model directory is not the one that its manifest describes."""


class ExportError(StepguardError):
    """A checkpoint that cannot be exported, or an output folder that cannot be written."""


class PromptError(StepguardError):
    """A prompt file or template that cannot be turned into pieces."""


class TrajectoryError(StepguardError):
    """A trajectory, stream line or step of the wrong form."""


class TokenizerError(StepguardError):
    """A tokenizer of an unsupported kind, or one that does not fit the model."""


class TaxonomyError(StepguardError):
    """Labels, margins or calibrations that contradict each other."""


class RuntimeMissingError(StepguardError):
    """ONNX Runtime is not installed, installed twice, or too old."""


class SessionClosed(StepguardError):
    """A call on a session that was closed."""


class VerdictError(StepguardError):
    """A verdict was committed or rejected that is no open check of the session."""


class EngineClosed(StepguardError):
    """A call on a guard whose engine was closed."""


class ForkedProcessError(StepguardError):
    """A guard was loaded before fork() and used in the child."""


def check_process(pid: int, what: str) -> None:
    """Raises ForkedProcessError when this is not the process `pid`, to which `what` belongs."""
    if os.getpid() != pid:
        raise ForkedProcessError(
            what,
            expected="the process that loaded the guard",
            got="a child made by fork()",
            fix="Load the guard in the child, after the fork.",
        )
