"""The kernel library, built once a session."""

from __future__ import annotations

import pytest
from kernel_build import build, missing_tool
from kernel_library import Kernels


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    missing = missing_tool()
    if missing is not None:
        pytest.skip(f"building the kernels needs {missing}")
    return Kernels(build())


@pytest.fixture(params=["generic", "avx2"])
def table(request: pytest.FixtureRequest, kernels: Kernels) -> str:
    """Each table that this machine can run."""
    name = str(request.param)
    problem = kernels.problem(name)
    if problem is not None:
        pytest.skip(f"{name}: {problem}")
    return name
