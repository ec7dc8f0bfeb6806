"""stepguard export: from a checkpoint to a model directory."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

from rich.logging import RichHandler

from stepguard.cli.show import add_json, console, formatted, grid, plain, print_json
from stepguard.manifest import Manifest
from stepguard.prompt import ANSWERS, MODES

_DESCRIPTION = """\
Makes a model directory of a checkpoint: a Hugging Face folder with safetensors, or a .gguf file.
Weights stream through in blocks, so that it needs little memory; PyTorch is not needed.

  stepguard export ./AgentDoG-1.0-Qwen3-4B guard --quant int4 --prompt trajectory_binary.txt
  stepguard export model.Q4_0.gguf guard                 Q4_0 and Q8_0 pass through bit by bit
  stepguard export ./Qwen3-0.6B guard --adapter ./lora   merges a LoRA first

Needs the packages of: pip install 'stepguard[export]'
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    help_text = "make a model directory of a checkpoint"
    parser = commands.add_parser("export", help=help_text, **formatted(_DESCRIPTION))
    parser.add_argument("checkpoint", help="a folder with config.json and safetensors, or a .gguf")
    parser.add_argument("out", help="the model directory; it appears when it is complete")
    add_quant(parser)
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="FILE", help="an official prompt file")
    prompt.add_argument(
        "--template", choices=["short"], help="our own short prompt, for a guard that has another"
    )
    parser.add_argument(
        "--taxonomy",
        metavar="FILE",
        help="labels of a diagnosis: a JSON file, or base, claw, codex or all (default: base for "
        "prompts that ask for its labels, else none)",
    )
    add_asking(parser)
    parser.add_argument("--adapter", metavar="DIR", help="a LoRA to merge into the weights")
    parser.add_argument(
        "--force",
        "--overwrite",
        action="store_true",
        help="replace OUT if it is a model directory",
    )
    add_json(parser)
    parser.set_defaults(run=run)


_SWITCH = {"auto": None, "on": True, "off": False}


def add_asking(parser: argparse.ArgumentParser) -> None:
    """The options that say how the guard is asked."""
    parser.add_argument(
        "--prompt-taxonomy", metavar="FILE", help="what stands in the place {taxonomy} of a prompt"
    )
    parser.add_argument(
        "--answer",
        choices=list(ANSWERS),
        help="how the guard answers, for a prompt that is no official one (default: word)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        help="how verdicts are read when nobody chooses; a guard has the modes that its answer "
        "allows (default: the one that writes nothing)",
    )
    parser.add_argument(
        "--thinking",
        choices=list(_SWITCH),
        default="auto",
        help="what the chat template is told about thoughts (default: off, but on for an answer "
        "that begins with them)",
    )
    parser.add_argument(
        "--rationale",
        choices=list(_SWITCH),
        default="auto",
        help="whether the guard can write its answer out (default: on, but off for our own prompt)",
    )


def add_quant(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """The option --quant."""
    parser.add_argument(
        "--quant",
        choices=["auto", "float32", "int8", "int4"],
        default=default,
        help="how to store weights; auto keeps what is quantised already and else takes "
        "int4 for a folder and int8 for a .gguf (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Exports, and prints what came out and how long it took."""
    started = time.perf_counter()
    manifest = export_with_bar(
        arguments.checkpoint,
        arguments.out,
        quant=arguments.quant,
        prompt=arguments.prompt,
        template=arguments.template,
        taxonomy=arguments.taxonomy,
        prompt_taxonomy=arguments.prompt_taxonomy,
        answer=arguments.answer,
        mode=arguments.mode,
        thinking=_SWITCH[arguments.thinking],
        rationale=_SWITCH[arguments.rationale],
        adapter=arguments.adapter,
        overwrite=arguments.force,
    )
    seconds = time.perf_counter() - started
    if arguments.json:
        facts = {"path": arguments.out, "sha256": manifest.sha256, "seconds": round(seconds, 3)}
        print_json(facts | manifest.to_dict())
    else:
        print_summary(arguments.out, manifest, seconds)
    return 0


def export_with_bar(checkpoint: str | Path, out: str | Path, **options: object) -> Manifest:
    """`export_model` with its progress and its log on stderr."""
    from stepguard.export import export_model, progress_bar

    logger = logging.getLogger("stepguard.export")
    handler = RichHandler(console=console(stderr=True), show_time=False, show_path=False)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)
    logger.propagate = False  # the command's own handler would print it once more
    try:
        with progress_bar() as report:
            return export_model(checkpoint, out, progress=report, **options)  # type: ignore[arg-type]
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def print_summary(out: str | Path, manifest: Manifest, seconds: float) -> None:
    """What came out, and how long it took, for people."""
    size = sum(entry.bytes for entry in manifest.files.values())
    linear = ", ".join(f"{count} {form}" for form, count in manifest.quantisation.linear.items())
    table = grid()
    table.add_row("model", plain(str(out)))
    table.add_row("size", f"{size / 1e6:.1f} MB")
    table.add_row("time", f"{seconds:.1f} s")
    table.add_row("matrices", f"{linear}; table {manifest.quantisation.table}")
    table.add_row("licence", plain(manifest.licence.name))
    table.add_row("sha256", manifest.sha256)
    console().print(table)
