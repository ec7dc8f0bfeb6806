"""What `stepguard moderate --json` says of one trajectory, read back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from stepguard.errors import ModelFormatError, TrajectoryError
from stepguard.manifest.fields import Share
from stepguard.manifest.reading import Is, read_object
from stepguard.prompt import Trajectory

Dimensions = Literal["risk_source", "failure_mode", "real_world_harm"]
Amount = Annotated[int, Is(lambda found: 0 <= found < 1 << 53, "0 or more, below 2^53")]
Run = Annotated[tuple[Amount, ...], Is(lambda found: len(found) == 2, "first and last index")]
Time = Annotated[float, Is(lambda found: found >= 0, "0 or more")]
REPAIR = "Make it again with: stepguard moderate OUT FILE --json"


@dataclass(frozen=True)
class Model:
    """Which model judged, and what it ran on. low, high: a score between them is unsure."""

    path: str
    sha256: str
    prompt: str
    trained: bool
    isa: str
    threads: Amount
    kv: str
    activations: str
    seconds: Time
    calibrated: bool = False
    low: Share | None = None
    high: Share | None = None


@dataclass(frozen=True)
class Diagnosed:
    """A diagnosis: label id -> probability, for every dimension that was read."""

    order: tuple[Dimensions, ...]
    risk_source: Mapping[str, float]
    failure_mode: Mapping[str, float]
    real_world_harm: Mapping[str, float]
    out_of_vocabulary: Mapping[str, float]
    complete: bool
    reason: str | None
    message: str
    latency_ms: Time

    def of(self, dimension: str) -> Mapping[str, float]:
        """The probabilities of one dimension."""
        found: Mapping[str, float] = getattr(self, dimension)
        return found


@dataclass(frozen=True)
class Judged:
    """A verdict."""

    step: Amount | None
    status: Literal["safe", "unsafe", "unsure", "unavailable"]
    reason: str | None
    message: str
    mode: str
    margin: float | None
    score: Share | None
    calibrated: bool
    coverage: Share
    tokens_read: Amount
    neutralised: Amount
    capped: Amount
    unreadable: Amount
    left_out: tuple[Run, ...]
    windows: Amount
    rationale: str | None
    latency_ms: Time
    diagnosis: Diagnosed | None = None


@dataclass(frozen=True)
class Judgement:
    """One trajectory's verdicts, in order."""

    model: Model
    verdicts: tuple[Judged, ...]


def read_saved(path: str) -> Any:
    """The JSON of a file. Raises TrajectoryError for what is none, OSError."""
    try:
        return json.loads(Path(path).read_bytes())
    except RecursionError as error:
        raise TrajectoryError(path, expected="JSON", got="too deep a nesting") from error
    except ValueError as error:
        raise TrajectoryError(path, expected="JSON", got=str(error)) from error


def read_judgement(value: object, index: int, where: str) -> Judgement:
    """The trajectory at an index of the JSON object of `moderate --json`.

    Raises:
        TrajectoryError: names `where` and the place in it.
    """
    trajectories = value.get("trajectories") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(trajectories, list):
        raise TrajectoryError(
            where, expected="what `moderate --json` prints", got="something else", fix=REPAIR
        )
    if not 0 <= index < len(trajectories):
        got = f"{len(trajectories)} trajectories"
        raise TrajectoryError(where, expected=f"trajectory {index + 1}", got=got)
    place = f"trajectories[{index}].verdicts"
    one = trajectories[index]
    verdicts = one.get("verdicts") if isinstance(one, dict) else None
    if not isinstance(verdicts, list) or not verdicts:
        raise TrajectoryError(f"{where}: {place}", expected="verdicts", got="none", fix=REPAIR)
    return Judgement(
        _object(Model, value.get("model"), "model", where),
        tuple(_judged(item, f"{place}[{i}]", where) for i, item in enumerate(verdicts)),
    )


def check_fit(verdicts: tuple[Judged, ...], trajectory: Trajectory, where: str) -> None:
    """Raises TrajectoryError where the verdicts are not those on this trajectory's actions."""
    actions = [index for index, step in enumerate(trajectory.steps) if step.is_action]
    expected: list[int | None] = [*actions] or [len(trajectory.steps) - 1]
    steps = [verdict.step for verdict in verdicts]
    if steps != expected:
        raise TrajectoryError(
            where,
            expected=f"verdicts on the steps {_few(expected)} of the trajectory",
            got=_few(steps),
            fix="Give the trajectory that was judged.",
        )


def _judged(value: object, place: str, where: str) -> Judged:
    if isinstance(value, dict) and isinstance(value.get("diagnosis"), dict):
        value = {**value, "diagnosis": _known(Diagnosed, value["diagnosis"])}
    found: Judged = _object(Judged, value, place, where)
    return found


def _object(kind: Any, value: object, place: str, where: str) -> Any:
    try:
        return read_object(kind, _known(kind, value), place)
    except ModelFormatError as error:
        place = error.where.partition(": ")[2]
        raise TrajectoryError(
            f"{where}: {place}", expected=error.expected, got=error.got, fix=REPAIR
        ) from error


def _known(kind: Any, value: object) -> object:
    """Without the keys that a page does not show."""
    if not isinstance(value, dict):
        return value
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: item for name, item in value.items() if name in names}


def _few(steps: list[int | None]) -> str:
    texts = ["-" if step is None else str(step) for step in steps[:12]]
    return ", ".join(texts) + (" ..." if len(steps) > 12 else "")
