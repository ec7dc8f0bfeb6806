"""The wheel as a user gets it: what it holds, and that a clean install of it runs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (".cc", ".cpp", ".h", ".inc", ".cu", ".cuh", "CMakeLists.txt", ".pyc")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
ROOMS = ("export/", "runtime/", "taxonomy/", "train/", "bench/")

pytestmark = pytest.mark.slow


def run(*command: str | Path) -> str:
    """What a command prints; a failure shows what it said."""
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from nothing in an environment of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "-w", str(folder), "-C", f"build-dir={folder / 'build'}"]
    run(sys.executable, "-m", "pip", "wheel", "-q", *options, ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a clean environment that holds `stepguard[cpu]` and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", f"{wheel}[cpu]")
    return python


def test_the_wheel_holds_one_extension_and_no_sources(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    extensions = [name for name in names if ".so" in Path(name).suffixes]
    assert len(extensions) == 1
    assert extensions[0].startswith("stepguard/runtime/_core.")
    assert [name for name in names if name.endswith(SOURCES)] == []
    strangers = [name for name in names if not name.startswith(("stepguard/", "stepguard-"))]
    assert strangers == []


def test_the_wheel_holds_every_module_and_the_types(
    wheel: Path, project_files: dict[str, str]
) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"stepguard/py.typed", "stepguard/runtime/_core.pyi"} <= names
    expected = {
        path.removeprefix("src/") if path.startswith("src/") else f"stepguard/{path}"
        for path in project_files
        if path.endswith((".py", ".pyi")) and path.startswith(("src/", *ROOMS))
    }
    assert sorted(expected - names) == []
    kept = "src/stepguard/default_guard/"
    data = {name.removeprefix("src/") for name in project_files if name.startswith(kept)}
    data.add("stepguard/default_guard/stepguard-default/adapter_model.safetensors")
    assert sorted(data - names) == []
    licences = {Path(name).name for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_a_clean_install_needs_no_training_packages(python: Path) -> None:
    absent = ["torch", "onnx", "transformers", "gguf", "safetensors", "sklearn", "matplotlib"]
    code = f"import importlib.util as u; print([n for n in {absent} if u.find_spec(n)])"
    assert run(python, "-c", code).strip() == "[]"


def test_a_clean_install_runs(python: Path) -> None:
    code = "import stepguard; from stepguard import Guard, Step; print(stepguard.__version__)"
    assert run(python, "-c", code).strip() == VERSION
    text = run(python.with_name("stepguard"), "info")
    assert "generic" in text
    assert "onnxruntime" in text.lower()


def test_the_hook_program_is_installed(python: Path) -> None:
    program = python.with_name("stepguard-hook")
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: stepguard-hook")
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    assert "libstdc++" not in linked.stdout
