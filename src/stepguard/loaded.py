"""What a loaded guard is: where and how it runs, and what its scores mean."""

from __future__ import annotations

from stepguard.manifest import Manifest
from stepguard.prompt import Prompt
from stepguard.reader import Reader


class Loaded:
    """For a guard to inherit."""

    manifest: Manifest
    prompt: Prompt
    _reader: Reader

    @property
    def isa(self) -> str:
        """Name of the kernel table that runs."""
        return self._reader.engine.isa

    @property
    def device(self) -> str:
        """What computes, "cpu" or "cuda"."""
        return self._reader.engine.device

    @property
    def threads(self) -> int:
        """Threads of a forward pass."""
        return self._reader.engine.threads

    @property
    def mode(self) -> str:
        """How verdicts are read."""
        return self._reader.judge.mode

    @property
    def kv(self) -> str:
        """Type of the KV pages."""
        return self._reader.engine.kv

    @property
    def activations(self) -> str:
        """What int4 and int8 weights are multiplied with."""
        return self._reader.engine.activations

    @property
    def trained(self) -> bool:
        """False when nothing says that this model ever learned to judge.

        An official prompt belongs to a trained checkpoint; calibration and heads come from labels,
        and so do the adapters that are merged for a guard.
        """
        found = self.manifest
        return self.prompt.official or bool(
            found.calibration or found.heads or found.origin.adapter
        )

    @property
    def calibrated(self) -> bool:
        """Whether scores are probabilities: a calibration fits to all settings."""
        return self._reader.judge.calibration is not None

    @property
    def thresholds(self) -> tuple[float, float]:
        """Scores: safe below the first, unsafe from the second, unsure between them."""
        calibration = self._reader.judge.calibration
        return (0.5, 0.5) if calibration is None else (calibration.low, calibration.high)

    def stats(self) -> dict[str, int | float]:
        """Counters of the engine since loading: tokens, forwards, pages_used, pages_total ..."""
        self._reader.check_process()
        return self._reader.engine.stats()
