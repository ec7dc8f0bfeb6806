"""From an encoder classifier to a screen, through `optimum` in another environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepguard._version import __version__
from stepguard.errors import ExportError
from stepguard.manifest import FILE
from stepguard.manifest.screen import (
    MODEL,
    SCREEN_FORMAT,
    SCREEN_VERSION,
    TOKENIZER,
    ScreenManifest,
)

from .directory import check_apart, check_free, new_directory
from .provenance import NOT_STATED, file_hash, licence_of_folder, place_of

JOB = Path(__file__).with_name("screen_job.py")
MOST_DIFFERENCE = 1e-4
# Labels that can only mean an attack; others have to be named.
_ATTACKS = {
    "injection",
    "prompt_injection",
    "indirect_injection",
    "jailbreak",
    "malicious",
    "attack",
}
# A hub, a server of statistics or an update check: the child asks nobody.
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

Stage = Callable[[str], None]


@dataclass(frozen=True)
class ScreenOptions:
    """How a screen reads: the labels that flag a text (none: found by their names), from which
    probability on, tokens of a window (none: at most 512), tokens that two neighbours share."""

    flagged: tuple[str, ...] = ()
    threshold: float = 0.5
    window: int | None = None
    overlap: int | None = None


_DEFAULTS = ScreenOptions()


def export_screen(
    checkpoint: str | Path,
    out: str | Path,
    *,
    python: Path,
    options: ScreenOptions = _DEFAULTS,
    overwrite: bool = False,
    stage: Stage | None = None,
) -> ScreenManifest:
    """Writes the folder of a screen.

    Args:
        checkpoint: a folder with config.json, weights and tokenizer of a DeBERTa, ModernBERT or
            BERT that classifies texts.
        python: an interpreter with optimum (`find_python`).
        stage: told what is being done.

    Raises:
        ExportError: the checkpoint is none of these, a label is not there, optimum fails, or its
            logits differ from PyTorch's by more than 1e-4, whatever their size.
        ModelFormatError: options that fit no manifest.
    """
    folder, target = Path(checkpoint), Path(out)
    if not (folder / "config.json").is_file():
        raise ExportError(
            str(folder), expected="a folder with config.json", got="none", fix="Give a local folder"
        )
    check_apart(target, [folder])
    check_free(target.absolute(), overwrite, is_screen)
    with (
        tempfile.TemporaryDirectory(prefix="stepguard-screen-") as made,
        new_directory(target, overwrite, is_screen) as work,
    ):
        found = _run(python, folder, Path(made), options.window, stage or (lambda _: None))
        return _write(folder, Path(made), work, found, options)


def is_screen(folder: Path) -> bool:
    """Whether a folder is a screen, of whatever version."""
    try:
        manifest = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == SCREEN_FORMAT


def flagged_labels(labels: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The labels that flag a text: those that are wanted, or those whose name says it.

    Raises ExportError that lists the labels.
    """
    listed = ", ".join(labels)
    if unknown := [label for label in wanted if label not in labels]:
        raise ExportError("--flag", expected=f"labels of {listed}", got=", ".join(unknown))
    named = [one for one in labels if re.sub(r"[\s-]+", "_", one.lower()) in _ATTACKS]
    found = tuple(wanted) or tuple(named)
    if not found or set(found) == set(labels):
        raise ExportError(
            "the labels of the classifier",
            expected="one whose name says that a text is an attack",
            got=listed,
            fix="Say which ones flag a text: --flag LABEL",
        )
    return found


def _run(
    python: Path, checkpoint: Path, made: Path, window: int | None, stage: Stage
) -> dict[str, Any]:
    """What the job found; its files are in `made`."""
    command = [str(python), "-I", str(JOB), str(checkpoint.absolute()), str(made)]
    command.append(json.dumps({"window": window}))
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **_QUIET},
        ) as job,
    ):
        assert job.stdout is not None
        result: dict[str, Any] | None = None
        for text in job.stdout:
            line = _line(text)
            if "stage" in line:
                stage(str(line["stage"]))
            if "refused" in line:
                where, expected, got = line["refused"]
                raise ExportError(f"{checkpoint}: {where}", expected=expected, got=got)
            result = line.get("result", result)
        status = job.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if status or result is None:
        raise ExportError(
            f"optimum ({python})",
            expected="it to turn the checkpoint into ONNX",
            got=(said or [f"exit status {status}"])[-1][-300:],
        )
    return result


def _line(text: bytes) -> dict[str, Any]:
    """A line of the job; libraries that print something else say nothing to us."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _write(
    checkpoint: Path, made: Path, work: Path, found: dict[str, Any], options: ScreenOptions
) -> ScreenManifest:
    difference = found["difference"]
    if not difference <= MOST_DIFFERENCE:
        raise ExportError(
            "model.onnx",
            expected=f"logits within {MOST_DIFFERENCE} of PyTorch's",
            got=f"a difference of {difference:.3g}",
            fix="Try another version of optimum in an environment of your own: --python PATH",
        )
    flagged = flagged_labels(found["labels"], options.flagged)
    licence = licence_of_folder(checkpoint)
    names = [MODEL, TOKENIZER, *sorted(p.name for p in made.glob("model.onnx[_.]data"))]
    for name in names:
        shutil.copyfile(made / name, work / name)
    for name, file in licence.files.items():
        shutil.copyfile(file, work / name)
    files = {
        name: {"sha256": file_hash(work / name), "bytes": (work / name).stat().st_size}
        for name in (*names, *licence.files)
    }
    source, revision = place_of(checkpoint)
    window = found["window"]
    kept = ("architecture", "labels", "window", "begin", "end", "vocabulary")
    manifest = ScreenManifest.from_dict(
        {
            "format": SCREEN_FORMAT,
            "format_version": SCREEN_VERSION,
            "stepguard_version": __version__,
            **{name: found[name] for name in kept},
            "flagged": list(flagged),
            "threshold": options.threshold,
            "overlap": window // 4 if options.overlap is None else options.overlap,
            "licence": {"name": licence.name, "files": list(licence.files)},
            "origin": {
                "source": source,
                "revision": revision or NOT_STATED,
                "packages": found["packages"],
                "difference": difference,
            },
            "files": files,
        }
    )
    (work / FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest
