"""stepguard screen: an encoder classifier that looks at tool results before the guard."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from stepguard.cli.show import add_json, console, formatted, grid, plain, print_json, status_text
from stepguard.errors import ExportError, TrajectoryError
from stepguard.manifest.screen import ScreenManifest
from stepguard.private_files import cache_folder
from stepguard.screen import Screen
from stepguard.taxonomy import Verdict

_DESCRIPTION = """\
A small classifier of prompt injections (DeBERTa, ModernBERT or BERT) that reads every tool result
before the guard: Guard.load(OUT, screen=SCREEN), or stepguard moderate OUT file --screen SCREEN.

  stepguard screen export CHECKPOINT SCREEN --install   turn a checkpoint's folder into a screen
  stepguard screen check SCREEN page.txt                what it says about a text; - reads stdin
"""
_EXPORT = """\
The checkpoint is a local folder (config.json, safetensors, tokenizer). It is turned into ONNX by
the package optimum, whose ONNX part wants an older transformers than others do, so it has an
environment of its own: --install makes one in your cache with pip, the only step that uses the
network, and it is used from then on; --python takes one that you made.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    help_text = "a classifier that reads tool results before the guard"
    parser = commands.add_parser("screen", help=help_text, **formatted(_DESCRIPTION))
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_export(actions)
    check = actions.add_parser("check", help="what a screen says about a text")
    check.add_argument("screen", help="the folder of a screen")
    check.add_argument("file", help="a text file, or - for standard input")
    add_json(check)
    check.set_defaults(run=run_check)


def _add_export(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help_text = "turn a checkpoint into a screen"
    export = actions.add_parser("export", help=help_text, **formatted(_EXPORT))
    export.add_argument("checkpoint", help="a folder with config.json, weights and tokenizer")
    export.add_argument("out", help="the folder of the screen; it appears when it is complete")
    where = export.add_mutually_exclusive_group()
    where.add_argument("--install", action="store_true", help="make the environment with pip")
    where.add_argument("--python", metavar="PATH", help="an environment with optimum[onnxruntime]")
    export.add_argument(
        "--flag",
        metavar="LABEL",
        action="append",
        default=[],
        help="a label that makes a text suspicious (default: those named like an attack)",
    )
    export.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="probability of these labels from which a text is flagged (default: %(default)s)",
    )
    export.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="tokens that are read at once (default: what the model reads, at most 512)",
    )
    export.add_argument(
        "--overlap",
        type=int,
        metavar="N",
        help="tokens that two windows share (default: a quarter of them)",
    )
    export.add_argument("--force", action="store_true", help="replace OUT if it is a screen")
    add_json(export)
    export.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    """Exports, opens what came out, and prints it."""
    from stepguard.export.screen import ScreenOptions, export_screen
    from stepguard.export.screen_python import find_python, install

    started = time.perf_counter()
    folder = environment_folder()
    if arguments.install:
        install(folder)
    python = find_python(arguments.python, folder)
    options = ScreenOptions(
        tuple(arguments.flag), arguments.threshold, arguments.window, arguments.overlap
    )
    manifest = export_screen(
        arguments.checkpoint,
        arguments.out,
        python=python,
        options=options,
        overwrite=arguments.force,
        stage=lambda text: print(f"{plain(text)} ...", file=sys.stderr, flush=True),
    )
    Screen.load(arguments.out).close()
    seconds = time.perf_counter() - started
    if arguments.json:
        facts = {"path": arguments.out, "sha256": manifest.sha256, "seconds": round(seconds, 3)}
        print_json(facts | manifest.to_dict())
    else:
        _print_summary(arguments.out, manifest, seconds)
    return 0


def environment_folder() -> Path:
    """Where --install puts the environment.

    Raises:
        ExportError: the user has no home.
    """
    cache = cache_folder()
    if cache is None:
        expected = "a folder for the environment of optimum"
        fix = "Set XDG_CACHE_HOME, or give --python PATH"
        raise ExportError("the user's cache", expected=expected, got="no home", fix=fix)
    return cache / "optimum"


def run_check(arguments: argparse.Namespace) -> int:
    """The verdict on a text."""
    text = _text(arguments.file)
    with Screen.load(arguments.screen) as screen:
        verdict = screen.check(text)
    if arguments.json:
        print(verdict.to_json())
    else:
        _print_verdict(verdict, len(text))
    return 0


def _text(name: str) -> str:
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise TrajectoryError(name, expected="UTF-8 text", got=str(error)) from error


def _print_summary(out: str, manifest: ScreenManifest, seconds: float) -> None:
    size = sum(entry.bytes for entry in manifest.files.values())
    table = grid()
    table.add_row("screen", plain(out))
    table.add_row("size", f"{size / 1e6:.1f} MB")
    table.add_row("time", f"{seconds:.1f} s")
    table.add_row("labels", plain(", ".join(manifest.labels)))
    table.add_row("flags", plain(", ".join(manifest.flagged)) + f" from {manifest.threshold} on")
    table.add_row("windows", f"{manifest.window} tokens, {manifest.overlap} shared")
    table.add_row("from PyTorch", f"{manifest.origin.difference:.1e} at most")
    table.add_row("licence", plain(manifest.licence.name))
    table.add_row("sha256", manifest.sha256)
    console().print(table)


def _print_verdict(verdict: Verdict, characters: int) -> None:
    table = grid()
    table.add_row("verdict", status_text(verdict.reason or verdict.status))
    if verdict.message:
        table.add_row("because", plain(verdict.message))
    if verdict.score is not None:
        table.add_row("score", f"{verdict.score:.3f}")
    table.add_row("read", f"{characters} characters in {verdict.windows} windows")
    table.add_row("coverage", f"{verdict.coverage:.3f}")
    table.add_row("time", f"{verdict.latency_ms:.1f} ms")
    console().print(table)
