"""The closed list of errors that stepguard raises.

Every message says where it happened, what was expected, what was found and what to do about it.
Run-time conditions of a check (deadline, memory, numeric ...) are never raised: they are statuses
of the verdict. These classes are for misuse and for loading.
"""

from __future__ import annotations

import os
from typing import ClassVar

__all__ = [
    "AuditError",
    "DoctorError",
    "EngineClosed",
    "ExportError",
    "ForkedProcessError",
    "ModelFormatError",
    "ModelTamperedError",
    "PolicyError",
    "PromptError",
    "RunStopped",
    "RuntimeMissingError",
    "ServeError",
    "SessionClosed",
    "StepguardError",
    "TaxonomyError",
    "TokenizerError",
    "TrainingError",
    "TrajectoryError",
    "VerdictError",
]


class StepguardError(Exception):
    """Base of all errors of stepguard; `where`, `expected`, `got` and `fix` are attributes."""

    usual_fix: ClassVar[str] = ""
    """What to do where the place that raises it knows nothing better."""

    def __init__(self, where: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        fix = fix or self.usual_fix
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

    usual_fix = "Export the model again with this version of stepguard."


class ModelTamperedError(ModelFormatError):
    """A file of a model directory is not the one that its manifest describes."""


class ExportError(StepguardError):
    """A checkpoint that cannot be exported, or an output folder that cannot be written."""

    usual_fix = "Correct what it names, or fetch the checkpoint again."


class PromptError(StepguardError):
    """A prompt file or template that cannot be turned into pieces."""

    usual_fix = "Correct the prompt file and export again."


class TrajectoryError(StepguardError):
    """A trajectory, stream line or step of the wrong form."""

    usual_fix = "Correct this place of the input."


class PolicyError(StepguardError):
    """A policy file that cannot be used as it is."""

    usual_fix = "Correct the policy; `stepguard policy check FILE` names what is wrong with it."


class TokenizerError(StepguardError):
    """A tokenizer of an unsupported kind, or one that does not fit the model."""

    usual_fix = "Export the model again from its own checkpoint."


class TrainingError(StepguardError):
    """Settings, data or checkpoints that a training cannot use, or must not."""

    usual_fix = "Correct what it names, or begin in a new folder."


class TaxonomyError(StepguardError):
    """Labels, margins or calibrations that contradict each other."""

    usual_fix = "Export the model again with this version of stepguard."


class RuntimeMissingError(StepguardError):
    """ONNX Runtime is not installed, installed twice, or too old; or a GPU cannot be used."""


class RunStopped(StepguardError):
    """A policy ends an agent's run before an action."""


class AuditError(StepguardError):
    """A log of decisions that cannot be written or read."""

    usual_fix = "Until it is mended, treat what could not be logged as not allowed."


class ServeError(StepguardError):
    """A server that cannot listen where and how it was told to."""


class DoctorError(StepguardError):
    """A host that could not be asked what it does."""


class SessionClosed(StepguardError):
    """A call on a session that was closed."""

    usual_fix = "Open another with Guard.session."


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
