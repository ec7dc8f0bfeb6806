"""A loaded guard model: the front door."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Literal

from stepguard.background import Background
from stepguard.calls import VerdictAt
from stepguard.default_guard import installed
from stepguard.escalation import Escalation
from stepguard.follow_up import FollowUp
from stepguard.hidden import HiddenRows, rows_of
from stepguard.loaded import Loaded
from stepguard.manifest import Manifest
from stepguard.moderating import (
    TrajectoryLike,
    as_trajectory,
    follow_each,
    read_together,
    write_together,
)
from stepguard.opening import Wanted, open_guard, open_helpers
from stepguard.prompt import Prompt
from stepguard.queue import Progress, Queue, asks_of
from stepguard.reader import Reader
from stepguard.reading import Reading
from stepguard.screen import Screen
from stepguard.screening import Screening
from stepguard.second import Follower, Second
from stepguard.session import Session
from stepguard.taxonomy import Taxonomy, Verdict
from stepguard.track import Track
from stepguard.window import Window


class Guard(Loaded):
    """Shared by any number of sessions and threads. Make it with `Guard.load`."""

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
    ) -> Guard:
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

    def require_labels(self) -> None:
        """Raises TaxonomyError for a guard that was exported without labels of a diagnosis, and has
        no other guard beside it that has."""
        _ = (self._diagnoser or self._reader).judge.needed_fields

    def session(
        self,
        profile: str = "",
        *,
        window: Literal["strict", "window"] = "strict",
        verdict_at: VerdictAt = "actions",
        diagnose: bool = True,
    ) -> Session:
        """A new trajectory.

        Args:
            profile: describes the agent; it is read with the first step.
            window: what happens when the context is full. "strict": verdicts are
                `unavailable(overflow)`. "window": the profile, the first user step and the newest
                steps stay, verdicts name what was left out and have a coverage below 1; a step that
                is too long even so is read in overlapping windows, and the worst of them counts.
            verdict_at: the steps at which `Session.follow` gives a verdict: "actions" of the agent,
                all steps of the "agent", or "all".
            diagnose: begin a diagnosis after every unsafe verdict, where the guard has labels for
                it: `verdict.diagnosis` is a future, which the verdict does not wait for.

        Raises:
            ValueError: an unknown window or verdict_at.
            PromptError, TokenizerError: the profile cannot be rendered.
            ForkedProcessError: called in a child of fork().
            TypeError: `profile` is no string.
        """
        if not isinstance(profile, str):
            raise TypeError(f"profile: expected a string, got {type(profile).__name__}")
        if window not in ("strict", "window"):
            raise ValueError(f"window: expected 'strict' or 'window', got {window!r}")
        reading, track, follow_up = self.begin(profile, window=window, diagnose=diagnose)
        return Session(reading, track, verdict_at, follow_up)

    def begin(
        self, profile: str, *, window: Literal["strict", "window"], diagnose: bool
    ) -> tuple[Reading, Track, FollowUp]:
        """What a new trajectory is read with, where it begins, and what follows its verdicts.

        Raises PromptError, TokenizerError, ForkedProcessError.
        """
        reader = self._reader
        reader.check_process()
        slides = window == "window"
        diagnoser, larger = (
            None if second is None else Follower(second, profile, window=slides)
            for second in (self._diagnoser, self._larger)
        )
        wanted = diagnose and (diagnoser is not None or reader.judge.fields is not None)
        track = Track.begin(reader.encoder, profile)
        follow_up = FollowUp(self._background, diagnoser, larger, wanted)
        return self.reading(window=slides), track, follow_up

    def check_process(self) -> None:
        """Raises ForkedProcessError in a child of fork()."""
        self._reader.check_process()

    def reading(self, *, window: bool) -> Reading:
        """The reading of a new session."""
        reader = self._reader
        looks = None if self._escalation is None else self._escalation.looks()
        screening = None if self._screen is None else Screening(self._screen)
        if not window:
            return Reading(reader, None, looks=looks, screening=screening)
        fields = reader.judge.fields
        room = reader.room - (fields.longest if fields is not None else 0)
        sliding = Window(reader.encoder, room)
        return Reading(reader, sliding, looks=looks, screening=screening)

    def moderate(
        self,
        trajectory: TrajectoryLike,
        *,
        progress: Progress | None = None,
        diagnose: bool = False,
    ) -> list[Verdict]:
        """A verdict per agent action, or one at the end where there is none; reads all at once.

        The same bits as pushing its steps one by one.

        Args:
            trajectory: a Trajectory, or `{"profile": ..., "contents": [...]}`.
            progress: called now and then with tokens read and tokens to read.
            diagnose: give every unsafe verdict its diagnosis, which is done when this returns. The
                steps are then read one after the other; so they are where a larger guard is asked
                about unsure verdicts, whose answer (`Verdict.second`) is then there, too.

        Raises:
            TrajectoryError: it is of the wrong form, or has no steps.
            TaxonomyError: `diagnose`, and the guard was exported without labels.
            EngineClosed, ForkedProcessError: the guard cannot read any more.
        """
        return self.moderate_many([trajectory], progress=progress, diagnose=diagnose)[0]

    def moderate_many(
        self,
        trajectories: Iterable[TrajectoryLike],
        *,
        progress: Progress | None = None,
        diagnose: bool = False,
    ) -> list[list[Verdict]]:
        """`moderate` for many, which share forward passes; as many at once as memory has room for.

        `progress` counts the tokens of the trajectories that were begun; trajectories that are
        done, where answers are written. With `diagnose`, or a larger guard, they are read one after
        the other.
        """
        self._reader.check_process()
        self._reader.judge.check_verdicts()
        found = [as_trajectory(item) for item in trajectories]
        if diagnose:
            self.require_labels()
        session = partial(self.session, diagnose=diagnose)
        if diagnose or self._larger is not None:
            return follow_each(self._reader, found, session, progress)
        if self._reader.judge.writes or self._escalation is not None:
            return write_together(found, session, progress)
        return read_together(self._reader, found, progress, self._screen)

    def hidden_rows(
        self, trajectories: Iterable[TrajectoryLike], *, progress: Progress | None = None
    ) -> list[HiddenRows]:
        """What heads are fitted on: the model's last row wherever `moderate_many` would judge.

        They are of the mode's question, and share forward passes. Raises what `moderate_many`
        raises.
        """
        self._reader.check_process()
        plans = [asks_of(self._reader.encoder, as_trajectory(item)) for item in trajectories]
        make = partial(rows_of, self._reader.judge)
        return Queue(self._reader, progress, make).run(plans)

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

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
