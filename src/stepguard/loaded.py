"""A loaded guard: opened from a model directory, what it is then, and closed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from stepguard.background import Background
from stepguard.default_guard import installed
from stepguard.escalation import Escalation
from stepguard.manifest import Manifest
from stepguard.opening import Wanted, open_guard, open_helpers
from stepguard.prompt import Prompt
from stepguard.reader import Reader
from stepguard.screen import Screen
from stepguard.second import Second
from stepguard.taxonomy import Taxonomy


class Loaded:
    """For a guard to inherit."""

    def __init__(
        self,
        manifest: Manifest,
        prompt: Prompt,
        reader: Reader,
        escalation: Escalation | None = None,
        *,
        diagnoser: Second | None = None,
        larger: Second | None = None,
        screen: Screen | None = None,
        keeps_screen: bool = True,
    ) -> None:
        self._screen, self._keeps_screen = screen, keeps_screen
        self._escalation = escalation
        self.manifest = manifest
        self.prompt = prompt
        self._reader = reader
        self._background = Background()
        self._diagnoser, self._larger = diagnoser, larger

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        isa: str | None = None,
        threads: int | None = None,
        kv: str | None = None,
        activations: str | None = None,
        memory: int | None = None,
        chunk: int = 512,
        budget_ms: float = 100.0,
        save_prefix: bool = True,
        taxonomy: str | Path | Taxonomy | None = None,
        diagnoser: str | Path | Second | None = None,
        larger: str | Path | Second | None = None,
        give_way: bool = False,
        ort_library: str | None = None,
        device: str = "cpu",
        gpu_memory: int | None = None,
        mode: str | None = None,
        rationale_limit: int | None = None,
        escalate: Literal["rationale"] | None = None,
        screen: str | Path | Screen | None = None,
    ) -> Self:
        """Opens a model directory, after checking that its files are those of its manifest.

        Args:
            path: the folder that `stepguard export` wrote; None takes the guard that comes with
                stepguard, where `stepguard default install` has put it.
            isa: kernel table; None takes the variable STEPGUARD_ISA, or the best of this CPU.
            threads: threads of a forward pass; None leaves a core to the agent where it can.
            kv: type of the KV pages, "fp16" or "fp32"; None takes the manifest's.
            activations: what int4 and int8 weights are multiplied with: "int8" (rows rounded to
                integers), "bf16" (the table `amx` only) or "fp32", the slowest. None takes what the
                guard was calibrated for, else what is fastest here: "bf16" beside int4 weights
                where it is there, "int8" beside all others that are integers.
            memory: bytes for KV pages, recurrent slots and scratch; None takes a quarter of the
                machine's, at most 4 GiB; with "cuda" a quarter of what is free on the GPU.
            chunk: most tokens of one forward pass.
            budget_ms: milliseconds of one forward pass, as far as `chunk` allows: the longest that
                a small check waits for a long read. A call that is alone and has no
                deadline takes three times as much at once, so that a step and its question are
                rarely cut.
            save_prefix: keep the State of the prompt's constant part in the user's cache, so that
                the next start need not read it.
            taxonomy: labels of a diagnosis, if not all that the guard was exported with: a file of
                one's own, or the name of a shipped taxonomy.
            diagnoser: another model directory, whose guard diagnoses what this one finds unsafe. It
                is loaded at the first unsafe verdict, gives way to this one, and is let go of when
                the machine's memory gets short. `Second(path, ...)` gives it options of its own.
            larger: another one, whose guard judges in the background what this one is unsure about.
            give_way: threads of the lowest priority (on Linux), for a guard that nobody waits for.
            ort_library: the ONNX Runtime library; None finds the installed wheel's.
            device: "cpu", or "cuda" for an NVIDIA GPU; the CPU never takes over by itself, only
                with "cuda,cpu" where the GPU cannot be used. `Guard.device` is what computes.
            gpu_memory: most MiB that the guard may take of the GPU, weights included, beside the
                agent's own model; what finds no room is `unavailable(memory)`.
            mode: how verdicts are read, one of the manifest's modes ("first_token", "forced",
                "rationale"), or "head" where one was fitted; None takes the one that it names.
            rationale_limit: most tokens of a written answer; None takes the manifest's. A longer
                one has no verdict: `unavailable(no_verdict)`.
            escalate: "rationale" lets the guard write its answer out where a verdict is unsure or
                unsafe. The written verdict holds, if it fits into the call's deadline by what was
                measured so far; else the first one comes now, and what is written as a future:
                `Session.rationale`.
            screen: the folder of an encoder classifier, which looks at every tool result first:
                `Verdict.screened`, `Session.screened`. What it flags makes nothing unsafe; a safe
                verdict right behind it gets the second look that `escalate` or `larger` give to
                unsure ones. A `Screen` that you loaded may be shared, and stays open
                when the guard is closed.

        Raises:
            ModelFormatError, ModelTamperedError: the folder cannot be used as it is, or the default
                guard is not installed.
            PromptError, TokenizerError, TaxonomyError: its prompt, tokenizer or labels cannot, or
                it has no such mode.
            RuntimeMissingError: no usable ONNX Runtime, or no such kernel table; with "cuda" also:
                no GPU, or something that it needs, its memory included.
            ValueError: an argument is out of range.
        """
        folder = installed() if path is None else Path(path)
        helpers = open_helpers(diagnoser, larger)
        before = Screen.of(screen, ort_library)
        opened = open_guard(
            folder,
            Wanted(taxonomy, give_way, save_prefix, mode, rationale_limit, escalate),
            isa=isa,
            threads=threads,
            kv=kv,
            activations=activations,
            memory=memory,
            chunk=chunk,
            budget_ms=budget_ms,
            ort_library=ort_library,
            device=device,
            gpu_memory=gpu_memory,
        )
        return cls(
            *opened,
            diagnoser=helpers[0],
            larger=helpers[1],
            screen=before,
            keeps_screen=not isinstance(screen, Screen),
        )

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

    def close(self) -> None:
        """Ends what waits with `unavailable(closing)` and frees the memory. May be called twice.

        In a child of fork() it does nothing: what was loaded belongs to the parent.
        """
        if not self._reader.is_foreign_process():
            self._background.close()
            for second in (self._diagnoser, self._larger):
                if second is not None:
                    second.close()
            if self._escalation is not None:
                self._escalation.close()
            self._reader.engine.close()
            if self._keeps_screen and self._screen is not None:
                self._screen.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
