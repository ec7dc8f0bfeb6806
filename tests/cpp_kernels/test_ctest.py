"""The C++ test of the same tables; under sanitizers it runs through ctest."""

from __future__ import annotations

import subprocess

from kernel_library import Kernels


def test_tables_against_reference(kernels: Kernels) -> None:
    done = subprocess.run(
        [str(kernels.folder / "stepguard_kernels_test")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
