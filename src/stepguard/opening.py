"""Opens a model directory: from its files to what a guard is made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stepguard.diagnose import Asker
from stepguard.errors import ModelFormatError, PromptError, TokenizerError
from stepguard.escalation import Escalation
from stepguard.heads import HEAD, Head, question_mode, read_heads
from stepguard.heap import give_back
from stepguard.integrity import recheck, verify
from stepguard.judge import Judge, fields_of
from stepguard.known_files import KnownFiles
from stepguard.manifest import Manifest, load
from stepguard.prefix_store import PrefixKey, PrefixStore
from stepguard.priority import giving_way
from stepguard.private_files import cache_folder
from stepguard.prompt import Encoder, Prompt, load_tokenizer
from stepguard.prompt.answers import RATIONALE
from stepguard.prompt.tokenizer import FOREIGN
from stepguard.rationale import Rationale
from stepguard.reader import Reader
from stepguard.runtime import Engine
from stepguard.second import Second
from stepguard.taxonomy import Taxonomy, taxonomy_of

Opened = tuple[Manifest, Prompt, Reader, Escalation | None]


@dataclass(frozen=True)
class Wanted:
    """What `Guard.load` is asked for, beside the settings of the engine."""

    taxonomy: str | Path | Taxonomy | None
    give_way: bool
    save_prefix: bool
    mode: str | None
    rationale_limit: int | None
    escalate: str | None

    def __post_init__(self) -> None:
        limit = self.rationale_limit
        if limit is not None and (type(limit) is not int or limit < 1):
            expected = "a whole number from 1 up"
            raise ValueError(f"rationale_limit: expected {expected}, got {limit!r}")
        if self.escalate not in (None, RATIONALE):
            raise ValueError(f"escalate: expected 'rationale' or None, got {self.escalate!r}")


def open_guard(folder: Path, wanted: Wanted, **settings: Any) -> Opened:
    """Manifest, prompt, reader and escalation of a model directory; settings: the engine's.

    Raises what `Guard.load` raises.
    """
    labels = None if wanted.taxonomy is None else taxonomy_of(wanted.taxonomy)
    manifest = load(folder)
    with verify(folder, manifest, known=KnownFiles(cache_folder())) as verified:
        prompt = Prompt.from_manifest(manifest.prompt)
        mode = question_mode(manifest, wanted.mode)
        prompt = prompt if mode is None else prompt.in_mode(mode)
        heads = read_heads(manifest, verified.contents, prompt)  # whatever the mode
        head = heads["verdict"] if wanted.mode == HEAD else None
        _check_escalation(prompt, wanted.escalate)
        rows = manifest.architecture.vocabulary
        tokenizer = load_tokenizer(verified.tokenizer.decode(errors="replace"), rows=rows)
        encoder = Encoder(prompt, tokenizer)
        fields_of(manifest, labels)  # what is wrong with them is said before weights are read
        _check_vocabulary(rows, encoder)
        give_back()  # what reading the tokenizer took
        settings["activations"] = settings.get("activations") or _calibrated_for(manifest)
        make = partial(Engine, folder, manifest=manifest, **settings)
        engine = giving_way(make) if wanted.give_way else make()
        try:
            recheck(verified)
            return manifest, prompt, *_reader(manifest, encoder, engine, labels, head, wanted)
        except BaseException:
            engine.close()
            raise


def _calibrated_for(manifest: Manifest) -> str | None:
    """The activations to take when nobody says, or None for those that the engine takes.

    A calibration holds for one kind of activations. One that was made for integers runs so on CPUs
    whose engine would take bfloat16, too.
    """
    known = {entry.activations for entry in manifest.calibration}
    return "int8" if "int8" in known and "bf16" not in known else None


def open_helpers(
    diagnoser: str | Path | Second | None, larger: str | Path | Second | None
) -> tuple[Second | None, Second | None]:
    """The guards beside one. Raises what `Second` raises, and where one cannot do its work."""
    found = tuple(
        value if value is None or isinstance(value, Second) else Second(value)
        for value in (diagnoser, larger)
    )
    if found[0] is not None:
        _ = found[0].judge.needed_fields
    if found[1] is not None:
        found[1].judge.check_verdicts()
    return found[0], found[1]


def _reader(
    manifest: Manifest,
    encoder: Encoder,
    engine: Engine,
    labels: Taxonomy | None,
    head: Head | None,
    wanted: Wanted,
) -> tuple[Reader, Escalation | None]:
    prompt, tokenizer = encoder.prompt, encoder.tokenizer
    judge_of = partial(Judge.of, manifest, kv=engine.kv, activations=engine.activations)
    judge = judge_of(prompt, taxonomy=labels, head=head)
    writes = judge.writes or wanted.escalate is not None
    reader = Reader.of(
        engine,
        encoder,
        judge,
        context=manifest.architecture.context,
        store=_prefix_store(manifest, engine, encoder) if wanted.save_prefix else None,
        rationale=_rationale(prompt, tokenizer, engine) if writes else None,
        limit=wanted.rationale_limit,
        asker=Asker.of(prompt, tokenizer),
    )
    if wanted.escalate is None or reader.written is None:
        return reader, None
    slow = prompt.in_mode(RATIONALE)
    return reader, Escalation(reader, reader.written, Encoder(slow, tokenizer), judge_of(slow))


def _check_escalation(prompt: Prompt, escalate: str | None) -> None:
    if escalate is None:
        return
    prompt.in_mode(RATIONALE)
    if prompt.mode == RATIONALE:
        expected = "a mode that writes nothing, to escalate from"
        raise PromptError("mode", expected=expected, got=prompt.mode, fix="Leave one of them out.")


def _rationale(prompt: Prompt, tokenizer: Tokenizer, engine: Engine) -> Rationale:
    if not engine.writes:
        raise ModelFormatError(
            "model.onnx", expected="a graph with NextToken, for a mode that writes", got="none"
        )
    return Rationale(prompt, tokenizer)


def _prefix_store(manifest: Manifest, engine: Engine, encoder: Encoder) -> PrefixStore | None:
    folder = cache_folder()
    if folder is None:
        return None
    key = PrefixKey(
        model=manifest.sha256,
        prefix=hashlib.sha256(encoder.prefix_ids.tobytes()).hexdigest(),
        isa=engine.isa,
        kv=engine.kv,
        activations=engine.activations,
        ort=engine.ort_version,
    )
    return PrefixStore(folder / "prefix", key, len(encoder.prefix_ids))


def _check_vocabulary(rows: int, encoder: Encoder) -> None:
    """The prompt's own ids; those of its texts are the tokenizer's."""
    template = [*encoder.prefix_ids, *encoder.question(encoder.begin("").border)]
    most = max(map(int, template), default=0)
    if most >= rows:
        raise TokenizerError(
            "prompt",
            expected=f"ids below the model's {rows} rows",
            got=f"id {most}",
            fix=FOREIGN,
        )
