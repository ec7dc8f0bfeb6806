"""The options that commands load a guard with."""

from __future__ import annotations

import argparse
from typing import Any

from stepguard.cli.arguments import threads
from stepguard.cli.show import add_activations
from stepguard.default_guard import installed
from stepguard.errors import StepguardError
from stepguard.guard import Guard
from stepguard.heads import HEAD
from stepguard.prompt import MODES
from stepguard.runtime import DEVICES


def model_folder(text: str) -> str:
    """The type of an argument that names a model directory; `default` is the default guard's.

    Raises:
        ModelFormatError: that one is not installed.
    """
    return str(installed()) if text == "default" else text


def add_model(
    parser: argparse._ActionsContainer, name: str = "model", text: str = "", **more: Any
) -> None:
    """The argument that names the model directory."""
    text = f"a model directory{text}, or `default` for the guard that comes with stepguard"
    parser.add_argument(name, metavar="OUT", type=model_folder, help=text, **more)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--device, --gpu-memory, --kv, --activations and --threads."""
    add_device(parser)
    parser.add_argument(
        "--gpu-memory", type=_mebibytes, metavar="MIB", help="most that is taken of the GPU"
    )
    parser.add_argument("--kv", choices=["fp16", "fp32"], help="type of the KV pages")
    add_activations(parser)
    parser.add_argument("--threads", type=threads, metavar="N", help="threads of a forward pass")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="what computes; cuda,cpu is the GPU, or the CPU where that cannot be used",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The same, and --mode."""
    add_engine(parser)
    parser.add_argument(
        "--mode",
        choices=(*MODES, HEAD),
        help="how verdicts are read; `stepguard inspect` lists the modes",
    )


def load_guard(arguments: argparse.Namespace, **options: Any) -> Guard:
    """`Guard.load` with these and further options; what does not fit the model is a named error."""
    names = ("device", "gpu_memory", "kv", "activations", "threads", "mode")
    settings = {name: getattr(arguments, name) for name in names if name in arguments}
    try:
        return Guard.load(arguments.model, **settings, **options)
    except ValueError as error:
        raise StepguardError("the options of the command", got=str(error)) from error


def _mebibytes(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected MiB from 1 up, got {value}")
    return value
