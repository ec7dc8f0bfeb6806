"""The kernel library, built once a session."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from kernel_build import build, missing_tool
from kernel_delta import DeltaKernels
from kernel_library import Kernels

GPU = "cuda-emulated"  # the kernels of GPUs, as loops over blocks and threads
EMULATED = ["avxvnni", "avx512", "amx"]
FLAGS = {"avxvnni": "avx_vnni", "avx512": "avx512_vnni", "amx": "amx_tile"}  # as Linux calls them
BFLOAT16 = {"generic", "amx"}  # tables that multiply so


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known only where this folder is named on the command line."""
    parser.addoption(
        "--emulate", action="store_true", help="test the tables of newer CPUs, emulated"
    )


def _emulate(config: pytest.Config) -> bool:
    return bool(config.getoption("emulate", False))


@pytest.fixture(scope="session")
def kernels(pytestconfig: pytest.Config) -> Kernels:
    emulate = _emulate(pytestconfig)
    missing = missing_tool(emulate)
    if missing is not None:
        pytest.skip(f"building the kernels needs {missing}")
    return Kernels(build(emulate))


def _names() -> list[str]:
    """The tables that this CPU may have, of newer ones those that Linux lists; and the GPU's."""
    if platform.machine() == "aarch64":
        return ["generic", "neon", GPU]
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(errors="replace").split()) if cpuinfo.exists() else set()
    return ["generic", "avx2", GPU, *(name for name in EMULATED if FLAGS[name] in flags)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every table of this CPU, or those that are emulated."""
    names = EMULATED if _emulate(metafunc.config) else _names()
    if "able" in metafunc.fixturenames:
        metafunc.parametrize("table", [n for n in names if n in BFLOAT16], indirect=True)
    elif "table" in metafunc.fixturenames:
        metafunc.parametrize("table", names, indirect=True)


@pytest.fixture
def table(request: pytest.FixtureRequest, kernels: Kernels) -> str:
    """Each table that this machine can run."""
    name = str(request.param)
    problem = kernels.problem(name)
    if problem is not None:
        pytest.skip(f"{name}: {problem}")
    return name


@pytest.fixture
def able(kernels: Kernels, table: str) -> str:
    """Each of them that multiplies in bfloat16."""
    assert kernels.multiplies_bfloat16(table)
    return table


@pytest.fixture(scope="module")
def delta(kernels: Kernels) -> DeltaKernels:
    return DeltaKernels(kernels.folder)
