"""A guard opened for measuring: what lies behind its front door."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stepguard.errors import ModelFormatError, StepguardError
from stepguard.guard import Guard
from stepguard.reader import Reader


@dataclass(frozen=True, eq=False)
class Opened:
    """A loaded guard and the engine, encoder and judge that it reads with."""

    folder: Path
    guard: Guard
    reader: Reader

    @property
    def weights(self) -> str:
        """How the matrices are stored, like `int4` or `int4 + int8`."""
        return " + ".join(sorted(self.guard.manifest.quantisation.linear))

    @property
    def product(self) -> str:
        """Weights and what they are multiplied with, like `int4 x int8`."""
        return f"{self.weights} x {self.guard.activations}"

    def to_dict(self) -> dict[str, str]:
        """Names the model in JSON."""
        manifest = self.guard.manifest
        return {
            "folder": self.folder.name,
            "sha256": manifest.sha256,
            "architecture": manifest.architecture.name,
            "weights": self.weights,
            "table": manifest.quantisation.table,
            "kv": self.guard.kv,
            "activations": self.guard.activations,
            "prompt": manifest.prompt["name"],
        }


@contextmanager
def opened(
    folder: Path,
    *,
    kv: str | None = None,
    activations: str | None = None,
    isa: str | None = None,
    threads: int | None = None,
    mode: str | None = None,
    rationale_limit: int | None = None,
    memory: int | None = None,
) -> Iterator[Opened]:
    """Loads a guard and closes it; raises what `Guard.load` raises.

    Raises:
        StepguardError: an option is not for this model.
    """
    try:
        guard = Guard.load(
            folder,
            kv=kv,
            activations=activations,
            isa=isa,
            threads=threads,
            mode=mode,
            rationale_limit=rationale_limit,
            memory=memory,
        )
    except ValueError as error:
        raise StepguardError("the options of the command", got=str(error)) from error
    with guard:
        yield Opened(folder, guard, guard._reader)


def check_same_prompt(reference: Opened, other: Opened) -> None:
    """Raises ModelFormatError when two guards would not read the same token ids."""
    for name, theirs, ours in (
        ("tokenizer.json", _tokenizer(reference), _tokenizer(other)),
        ("prompt", reference.guard.prompt.to_manifest(), other.guard.prompt.to_manifest()),
    ):
        if theirs != ours:
            raise ModelFormatError(
                f"{other.folder}: {name}",
                expected=f"the one of {reference.folder}",
                got="another",
                fix="Compare exports of one checkpoint with one prompt.",
            )


def _tokenizer(model: Opened) -> str:
    return model.guard.manifest.files["tokenizer.json"].sha256
