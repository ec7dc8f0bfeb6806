"""Which room may know which: read from imports and includes, each rule with a planted violation."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator

import pytest

ROOMS = ("export", "runtime", "taxonomy", "train", "bench")
BARE = {*ROOMS, "cpp_kernels", "src"}
LEAVES = {"errors", "extras", "harmless", "manifest", "_version"}  # every room may import them
FRONT_KNOWS = {"leaf", "runtime", "taxonomy", "prompt"}
MAY = {
    "leaf": {"leaf"},
    "taxonomy": {"leaf"},
    "prompt": {"leaf", "taxonomy"},
    "runtime": {"leaf"},
    "export": {"leaf", "taxonomy", "prompt"},
    "front": FRONT_KNOWS,
    "server": FRONT_KNOWS | {"front"},
    "cli": FRONT_KNOWS | {"front"},
    "train": FRONT_KNOWS | {"front", "export"},
    "bench": FRONT_KNOWS | {"front", "cli", "export", "train"},
}
CLI_LATE = {"export", "train", "bench", "server"}  # inside a function of cli/ only


def room_of(module: str) -> str:
    """The room of a module name: "stepguard.prompt.step" -> "prompt"."""
    head = module.split(".")[1] if "." in module else ""
    if head in LEAVES:
        return "leaf"
    if head == "__main__":
        return "cli"
    return head if head in (*ROOMS, "prompt", "cli", "server") else "front"


def module_of(path: str) -> str | None:
    """The module name of a file ("export/a.py": "stepguard.export.a"); None outside the rooms."""
    parts = path.removesuffix(".pyi").removesuffix(".py").split("/")
    if parts[:2] == ["src", "stepguard"]:
        parts = parts[1:]
    elif parts[0] in ROOMS:
        parts = ["stepguard", *parts]
    else:
        return None
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: str, text: str) -> Iterator[tuple[str, bool, int]]:
    """(module, inside a function, line) of every import of a file, relative ones resolved."""
    module = module_of(path) or ""
    package = module.split(".") if path.endswith("__init__.py") else module.split(".")[:-1]

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool, int]]:
        if isinstance(node, ast.Import):
            yield from ((name.name, inside, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            head = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield from ((f"{head}.{name.name}", inside, node.lineno) for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [word.value for word in node.args[:1] if isinstance(word, ast.Constant)]
            yield from ((str(name), inside, node.lineno) for name in names)
        within = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, within)

    yield from visit(ast.parse(text), False)


def python_violations(files: dict[str, str]) -> list[str]:
    found = []
    for path, text in files.items():
        if not path.endswith((".py", ".pyi")):
            continue
        own = module_of(path)
        for target, inside, line in imports(path, text):
            if target.split(".")[0] in BARE:
                found.append(f"{path}:{line} imports {target}: write stepguard.{target}")
            if own is None or target.split(".")[0] != "stepguard":
                continue
            here, there = room_of(own), room_of(target)
            allowed = MAY[here] | (CLI_LATE if here == "cli" and inside else set())
            if there != here and there not in allowed:
                found.append(f"{path}:{line} imports {target}: {here} may not know {there}")
    return found


CPP = (".h", ".cc", ".cpp", ".inc", ".cu", ".cuh")
CORE_MAY_SEE = {
    "cpp_kernels/kernels.h",
    "cpp_kernels/cuda/table.h",  # a library of GPU kernels, seen from outside
    "cpp_kernels/ort/ort_abi.h",
    "cpp_kernels/ort/cuda/device.h",  # the engine owns what its operations share on a GPU
    "cpp_kernels/ort/context.h",  # the engine implements Parallel and owns the context of its ops
    "cpp_kernels/ort/register.h",
    "cpp_kernels/ort/segments.h",  # the columns of the segment table, which the engine fills
}
BINDINGS = "runtime/core/bindings"  # begins the name of every file that may know Python
FOREIGN = {"pybind11/": "pybind11", "Python.h": "Python", "onnxruntime": "ONNX Runtime's header"}


def resolve(path: str, name: str, files: dict[str, str]) -> str | None:
    """The project file that a quoted include means."""
    for folder in (posixpath.dirname(path), "", "cpp_kernels", "cpp_kernels/ort", "runtime/core"):
        candidate = posixpath.normpath(posixpath.join(folder, name))
        if candidate in files:
            return candidate
    return None


def include_fault(path: str, name: str, target: str | None) -> str | None:
    """Why `path` may not include `name` (which is the project's file `target`), or None."""
    kernels, adapters = path.startswith("cpp_kernels/"), path.startswith("cpp_kernels/ort/")
    for prefix, what in FOREIGN.items():
        if name.startswith(prefix) and not path.startswith(BINDINGS):
            return f"only {BINDINGS}* may know {what}"
        if name.startswith(prefix) and what.startswith("ONNX"):
            return "ONNX Runtime is declared in cpp_kernels/ort/ort_abi.h"
    if target is None:
        return None
    if target.startswith(BINDINGS) and not path.startswith(BINDINGS):
        return f"{target} brings pybind11 along"
    if kernels and target.startswith("runtime/"):
        return "kernels know nothing of the runtime"
    if kernels and not adapters and target.startswith("cpp_kernels/ort/"):
        return "kernels know nothing of ONNX Runtime"
    if path.startswith("runtime/") and target.startswith("cpp_kernels/"):
        return None if target in CORE_MAY_SEE else "the runtime sees the kernels' face only"
    return None


def include_violations(files: dict[str, str]) -> list[str]:
    found = []
    for path, text in files.items():
        if not path.endswith(CPP) or not path.startswith(("cpp_kernels/", "runtime/")):
            continue
        for name in re.findall(r'^\s*#\s*include\s*["<]([^">]+)[">]', text, re.MULTILINE):
            if fault := include_fault(path, name, resolve(path, name, files)):
                found.append(f"{path} includes {name}: {fault}")
    return found


def test_imports_follow_the_arrows(project_files: dict[str, str]) -> None:
    assert python_violations(project_files) == []


def test_includes_follow_the_arrows(project_files: dict[str, str]) -> None:
    assert include_violations(project_files) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("taxonomy/a.py", "from stepguard.runtime import Engine"),
        ("taxonomy/a.py", "from .. import Guard"),
        ("src/stepguard/errors.py", "from stepguard.taxonomy import Status"),
        ("src/stepguard/prompt/a.py", "from ..runtime import Engine"),
        ("src/stepguard/prompt/a.py", "def f():\n    import stepguard.guard"),
        ("export/a.py", "import stepguard.runtime"),
        ("export/a.py", "from stepguard import Guard"),
        ("runtime/a.py", "from stepguard import prompt"),
        ("src/stepguard/guard.py", "def f():\n    from stepguard.export import export"),
        ("src/stepguard/guard.py", "from stepguard.cli import main"),
        ("src/stepguard/guard.py", "from stepguard.server import serve"),
        ("src/stepguard/cli/a.py", "from stepguard.server import serve"),
        ("src/stepguard/server/a.py", "from stepguard.cli import main"),
        ("src/stepguard/cli/a.py", "from stepguard.export import export"),
        ("src/stepguard/cli/a.py", "class A:\n    import stepguard.bench"),
        ("src/stepguard/guard.py", "importlib.import_module('stepguard.bench')"),
        ("train/a.py", "from stepguard.bench import growth"),
        ("export/a.py", "from stepguard.bench import growth"),
        ("export/a.py", "from taxonomy import Status"),
        ("tests/runtime/test_a.py", "import runtime"),
    ],
)
def test_a_wrong_import_is_found(path: str, text: str) -> None:
    assert len(python_violations({path: text})) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/stepguard/cli/a.py", "def f():\n    from stepguard.export import export"),
        ("src/stepguard/__main__.py", "from stepguard.cli import main"),
        ("bench/a.py", "import stepguard.cli, stepguard.export\nfrom .report import table"),
        ("export/a.py", "from stepguard.errors import ExportError\nfrom ..prompt import Prompt"),
        ("taxonomy/__init__.py", "from .verdict import Verdict"),
        ("tests/runtime/test_a.py", "from stepguard.runtime import Engine"),
    ],
)
def test_a_right_import_passes(path: str, text: str) -> None:
    assert python_violations({path: text}) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("cpp_kernels/avx2/functions.cc", "../ort/ort_abi.h"),
        ("cpp_kernels/dispatch.cc", "pages.h"),
        ("cpp_kernels/dispatch.cc", "pybind11/pybind11.h"),
        ("cpp_kernels/ort/op.cc", "Python.h"),
        ("cpp_kernels/ort/op.cc", "pages.h"),
        ("cpp_kernels/ort/op.cc", "onnxruntime_c_api.h"),
        ("runtime/core/engine.cc", "ort/op.h"),
        ("runtime/core/engine.cc", "avx2/vec.h"),
        ("runtime/core/engine.cc", "pybind11/numpy.h"),
        ("runtime/core/engine.cc", "bindings.h"),
        ("runtime/core/bindings.cc", "onnxruntime_cxx_api.h"),
        ("runtime/core/bindings_engine.cc", "ort/op.h"),
    ],
)
def test_a_wrong_include_is_found(path: str, name: str) -> None:
    there = ["cpp_kernels/ort/ort_abi.h", "cpp_kernels/ort/op.h", "cpp_kernels/avx2/vec.h"]
    there += ["runtime/core/pages.h", "runtime/core/bindings.h"]
    files = dict.fromkeys(there, "")
    assert len(include_violations({**files, path: f"#include <vector>\n#include <{name}>\n"})) == 1


def test_a_right_include_passes() -> None:
    files = dict.fromkeys([*CORE_MAY_SEE, "runtime/core/pages.h"], "")
    files["runtime/core/engine.cc"] = '#include "kernels.h"\n#include "ort/register.h"\n'
    files["runtime/core/bindings.h"] = "#include <pybind11/numpy.h>\n"
    files["runtime/core/bindings_engine.cc"] = '#include "bindings.h"\n#include "pages.h"\n'
    assert include_violations(files) == []
