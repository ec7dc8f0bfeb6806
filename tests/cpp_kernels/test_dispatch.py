"""Which tables there are, and that the one asked for is the one that runs."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kernel_library import Kernels
from kernel_oracles import make_weights, normal

# Every table that the other tests are parametrised over.
TESTED = {"generic", "avx2", "avxvnni", "avx512", "amx", "neon", "cuda-emulated"}


def test_generic_is_last_and_every_table_is_tested(kernels: Kernels) -> None:
    tables = kernels.tables()
    assert tables[-1] == "generic"
    assert len(tables) == len(set(tables))
    assert set(tables) <= TESTED
    for name in tables:
        assert kernels.description(name)
        assert kernels.problem(name) is None


def test_problems(kernels: Kernels) -> None:
    assert kernels.problem("sse9") == "unknown name"
    assert kernels.problem("") == "unknown name"
    assert kernels.problem("AVX2") == "unknown name"
    foreign = "neon" if platform.machine() == "x86_64" else "avx2"
    assert kernels.problem(foreign) == "not in this build"
    for name in TESTED - set(kernels.tables()):
        problem = kernels.problem(name)
        assert problem is not None
        assert problem == "not in this build" or problem.startswith("this CPU lacks ")


LISTED = {
    "avx2": {"avx2", "fma", "f16c"},
    "avxvnni": {"avx2", "fma", "f16c", "avx_vnni"},
    "avx512": {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
}


@pytest.mark.parametrize("name", LISTED)
def test_a_table_is_found_where_linux_lists_it(kernels: Kernels, name: str) -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.exists():
        pytest.skip("not an x86-64 Linux")
    flags = set(cpuinfo.read_text(errors="replace").split())
    if kernels.problem(name) == "not in this build":
        pytest.skip("the compiler is too old for this table")
    assert (name in kernels.tables()) == (LISTED[name] <= flags)


def test_tables_round_differently(kernels: Kernels) -> None:
    """Names alone could lie: a long sum shows which accumulation ran."""
    if kernels.problem("avx2") is not None:
        pytest.skip(f"avx2: {kernels.problem('avx2')}")
    rng = np.random.default_rng(0)
    weights, x = make_weights(rng, "float32", 64, 2000), normal(rng, 2, 2000)
    exact = x.astype(np.float64) @ weights.dense
    fast, plain = (kernels.linear(name, weights, x) for name in ("avx2", "generic"))
    assert (plain == exact.astype(np.float32)).mean() > 0.99
    assert (fast == plain).mean() < 0.5


@pytest.mark.parametrize("name", ["avx2", "avxvnni", "avx512", "amx"])
def test_code_of_a_newer_cpu_is_not_shared(kernels: Kernels, name: str) -> None:
    """A weak symbol of such a file could become the one copy that every caller uses."""
    nm = shutil.which("nm")
    if nm is None or kernels.problem(name) == "not in this build":
        pytest.skip("no nm or no such table")
    objects = kernels.folder / "CMakeFiles" / "stepguard_kernels.dir" / name
    sources = sorted(objects.glob("*.o"))
    assert len(sources) >= 2  # the table, and its functions
    for path in sources:
        symbols = subprocess.run(
            [nm, str(path)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        shared = [line for line in symbols if line.split()[-2] in {"W", "V", "u"}]
        assert not shared, f"{path.name}: {shared}"
