"""Which engines can be measured on a device, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib import metadata

from stepguard.bench.gpu import find_gpu
from stepguard.bench.latency import prepare
from stepguard.bench.machine import Setup
from stepguard.errors import StepguardError
from stepguard.runtime import activations_of, active_isa, find_onnxruntime

DEVICES = ("cpu", "cuda")
_CPU_ONLY = {
    "genai": "measured on the CPU only: the wheel onnxruntime-genai computes there",
    "openvino": "measured on the CPU only: it knows no GPUs of NVIDIA",
}
# Servers that only run on a GPU. What they give of a prompt are the likeliest tokens, so that their
# logits cannot be compared with ours, and no time counts without that.
_SERVERS = ("vllm", "sglang")


def installed(package: str) -> str | None:
    """The version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def peers_on(
    device: str, names: Sequence[str], version_of: Callable[[str], str | None] = installed
) -> tuple[list[str], dict[str, str]]:
    """The peers out of `names` that are measured on the device, and the reasons of all others.

    version_of: the version of an installed package; an argument so that a test can say it.
    """
    if device == "cpu":
        return list(names), {}
    reasons = {name: _CPU_ONLY[name] for name in names if name in _CPU_ONLY}
    found = [name for name in names if name not in reasons]
    for name in _SERVERS if names else ():
        version = version_of(name)
        given = "it gives no logits of chosen tokens, which are compared before times count"
        reasons[name] = "not installed" if version is None else f"{version} is installed: {given}"
    return found, reasons


def our_setup(
    threads: int,
    device: str = "cpu",
    activations: str | None = None,
    linear: Collection[str] = ("int4",),
) -> Setup:
    """How ours runs: what the report states is what the engine was told.

    activations: those that were asked for, or None. linear: the formats of the matrices.

    Raises:
        RuntimeMissingError: no usable ONNX Runtime, or with "cuda" no GPU.
        StepguardError: there are no such activations for these weights, or not here.
    """
    version, kv = find_onnxruntime().version, str(prepare.OURS["kv"])
    on_gpu = device == "cuda"
    isa = "" if on_gpu else active_isa()
    try:
        runs = activations_of(activations, linear, isa)
    except ValueError as error:
        raise StepguardError("the options of the command", got=str(error)) from error
    if on_gpu:
        return Setup(version, f"cuda, {find_gpu().name}", 1, kv, runs)
    return Setup(version, isa, threads, kv, runs)
