"""A loaded guard model: the front door."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from stepguard.errors import TokenizerError, TrajectoryError
from stepguard.heap import give_back
from stepguard.integrity import recheck, verify
from stepguard.judge import Judge
from stepguard.known_files import KnownFiles
from stepguard.manifest import Manifest, load
from stepguard.prefix_store import PrefixKey, PrefixStore
from stepguard.private_files import cache_folder
from stepguard.prompt import Encoder, Prompt, Trajectory, load_tokenizer
from stepguard.queue import Progress, Queue
from stepguard.reader import Reader
from stepguard.reading import Reading
from stepguard.runtime import Engine
from stepguard.session import Session, VerdictAt
from stepguard.taxonomy import Verdict
from stepguard.track import Ask, Track
from stepguard.window import Window

TrajectoryLike = Trajectory | Mapping[str, Any]


class Guard:
    """Shared by any number of sessions and threads. Make it with `Guard.load`."""

    def __init__(self, manifest: Manifest, prompt: Prompt, reader: Reader) -> None:
        self.manifest = manifest
        self.prompt = prompt
        self._reader = reader

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        isa: str | None = None,
        threads: int | None = None,
        kv: str | None = None,
        memory: int | None = None,
        chunk: int = 512,
        budget_ms: float = 100.0,
        save_prefix: bool = True,
        ort_library: str | None = None,
    ) -> Guard:
        """Opens a model directory, after checking that its files are those of its manifest.

        Args:
            path: the folder that `stepguard export` wrote.
            isa: kernel table; None takes the variable STEPGUARD_ISA, or the best of this CPU.
            threads: threads of a forward pass; None leaves a core to the agent where it can.
            kv: type of the KV pages, "fp16" or "fp32"; None takes the manifest's.
            memory: bytes for KV pages; None takes a quarter of the machine's, at most 4 GiB.
            chunk: most tokens of one forward pass.
            budget_ms: milliseconds of one forward pass, as far as `chunk` allows: the longest that
                a small check waits for a long read.
            save_prefix: keep the State of the prompt's constant part in the user's cache, so that
                the next start need not read it.
            ort_library: the ONNX Runtime library; None finds the installed wheel's.

        Raises:
            ModelFormatError, ModelTamperedError: the folder cannot be used as it is.
            PromptError, TokenizerError, TaxonomyError: its prompt, tokenizer or labels cannot.
            RuntimeMissingError: no usable ONNX Runtime, or no such kernel table.
            ValueError: an argument is out of range.
        """
        folder = Path(path)
        manifest = load(folder)
        with verify(folder, manifest, known=KnownFiles(cache_folder())) as verified:
            prompt = Prompt.from_manifest(manifest.prompt)
            tokenizer = load_tokenizer(verified.tokenizer.decode(errors="replace"))
            encoder, judge = Encoder(prompt, tokenizer), Judge.of(manifest, prompt)
            _check_vocabulary(manifest, tokenizer.get_vocab(), encoder)
            give_back()  # what reading the tokenizer took
            engine = Engine(
                folder,
                isa=isa,
                threads=threads,
                kv=kv,
                memory=memory,
                chunk=chunk,
                budget_ms=budget_ms,
                ort_library=ort_library,
                manifest=manifest,
            )
            try:
                recheck(verified)
                store = _prefix_store(manifest, prompt, engine, encoder) if save_prefix else None
                context = manifest.architecture.context
                reader = Reader.of(engine, encoder, judge, context=context, store=store)
                return cls(manifest, prompt, reader)
            except BaseException:
                engine.close()
                raise

    @property
    def isa(self) -> str:
        """Name of the kernel table that runs."""
        return self._reader.engine.isa

    @property
    def threads(self) -> int:
        """Threads of a forward pass."""
        return self._reader.engine.threads

    @property
    def kv(self) -> str:
        """Type of the KV pages."""
        return self._reader.engine.kv

    @property
    def trained(self) -> bool:
        """False when nothing says that this model ever learned to judge.

        An official prompt belongs to a trained checkpoint; calibration and heads come from labels.
        """
        return self.prompt.official or bool(self.manifest.calibration or self.manifest.heads)

    def stats(self) -> dict[str, int | float]:
        """Counters of the engine since loading: tokens, forwards, pages_used, pages_total ..."""
        self._reader.check_process()
        return self._reader.engine.stats()

    def session(
        self,
        profile: str = "",
        *,
        window: Literal["strict", "window"] = "strict",
        verdict_at: VerdictAt = "actions",
    ) -> Session:
        """A new trajectory.

        Args:
            profile: describes the agent; it is read with the first step.
            window: what happens when the context is full. "strict": verdicts are
                `unavailable(overflow)`. "window": the profile, the first user step and the newest
                steps stay, verdicts name what was left out and have a coverage below 1.
            verdict_at: the steps at which `Session.follow` gives a verdict: "actions" of the agent,
                all steps of the "agent", or "all".

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
        reader = self._reader
        reader.check_process()
        sliding = Window(reader.encoder, reader.context) if window == "window" else None
        track = Track.begin(reader.encoder, profile)
        return Session(Reading(reader, sliding), track, verdict_at)

    def moderate(
        self, trajectory: TrajectoryLike, *, progress: Progress | None = None
    ) -> list[Verdict]:
        """A verdict per agent action, or one at the end where there is none; reads all at once.

        The same bits as pushing its steps one by one.

        Args:
            trajectory: a Trajectory, or `{"profile": ..., "contents": [...]}`.
            progress: called now and then with tokens read and tokens to read.

        Raises:
            TrajectoryError: it is of the wrong form, or has no steps.
            EngineClosed, ForkedProcessError: the guard cannot read any more.
        """
        return self.moderate_many([trajectory], progress=progress)[0]

    def moderate_many(
        self, trajectories: Iterable[TrajectoryLike], *, progress: Progress | None = None
    ) -> list[list[Verdict]]:
        """`moderate` for many, which share forward passes; as many at once as memory has room for.

        `progress` counts the tokens of the trajectories that were begun.
        """
        self._reader.check_process()
        plans = [self._asks(_as_trajectory(item)) for item in trajectories]
        return Queue(self._reader, progress).run(plans)

    def close(self) -> None:
        """Ends what waits with `unavailable(closing)` and frees the memory. May be called twice.

        In a child of fork() it does nothing: what was loaded belongs to the parent.
        """
        if not self._reader.is_foreign_process():
            self._reader.engine.close()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asks(self, trajectory: Trajectory) -> list[Ask]:
        """The questions of a trajectory; what follows the last one need not be read."""
        encoder = self._reader.encoder
        track, asks = Track.begin(encoder, trajectory.profile), []
        for step in trajectory.steps:
            track = track.extend(encoder, step)
            if step.is_action:
                asks.append(Ask.at(track, encoder))
        return asks or [Ask.at(track, encoder)]


def _prefix_store(
    manifest: Manifest, prompt: Prompt, engine: Engine, encoder: Encoder
) -> PrefixStore | None:
    folder = cache_folder()
    if folder is None:
        return None
    key = PrefixKey(
        model=manifest.sha256,
        prompt=prompt.sha256,
        isa=engine.isa,
        kv=engine.kv,
        ort=engine.ort_version,
    )
    return PrefixStore(folder / "prefix", key, len(encoder.prefix_ids))


def _as_trajectory(value: TrajectoryLike) -> Trajectory:
    trajectory = value if isinstance(value, Trajectory) else Trajectory.from_dict(value)
    if not trajectory.steps:
        raise TrajectoryError("trajectory", expected="at least one step", got="none")
    return trajectory


def _check_vocabulary(manifest: Manifest, vocabulary: Mapping[str, int], encoder: Encoder) -> None:
    template = [*encoder.prefix_ids, *encoder.question(encoder.begin("").border)]
    most = max([*vocabulary.values(), *map(int, template)], default=0)
    if most >= manifest.architecture.vocabulary:
        raise TokenizerError(
            "tokenizer.json and prompt",
            expected=f"ids below the model's {manifest.architecture.vocabulary} rows",
            got=f"id {most}",
            fix="They do not belong to these weights: export the model again.",
        )
