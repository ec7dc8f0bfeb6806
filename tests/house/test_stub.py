"""The stub `runtime/_core.pyi` says what the compiled module has: names, members, parameters."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

STUB = Path(__file__).resolve().parents[2] / "runtime" / "_core.pyi"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def core() -> ModuleType:
    module: ModuleType = pytest.importorskip("stepguard.runtime._core", reason="not built")
    return module


@pytest.fixture(scope="module")
def stub() -> ast.Module:
    return ast.parse(STUB.read_text())


def names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """The public names that a module or class body of the stub declares."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | Function):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return {name: node for name, node in found.items() if not name.startswith("_")}


def public(owner: object) -> set[str]:
    return {name for name in vars(owner) if not name.startswith("_")}


def parameters(docstring: str) -> list[str]:
    """Parameter names of pybind11's first docstring line: "f(self: A, n: int = 1) -> B"."""
    inside = re.search(r"\((.*)\)(?: ->|$)", docstring.strip().splitlines()[0])
    assert inside, docstring
    flat = inside[1]
    while (flatter := re.sub(r"[\[({][^\[\](){}]*[\])}]", "", flat)) != flat:
        flat = flatter
    words = [part.split(":")[0].split("=")[0].strip() for part in flat.split(",")]
    return [word for word in words if word not in ("", "*", "/")]


def stub_parameters(node: Function) -> list[str]:
    arguments = node.args
    return [a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]


def test_the_module_has_the_names_of_the_stub(core: ModuleType, stub: ast.Module) -> None:
    assert sorted(names(stub.body)) == sorted(public(core))


def test_the_classes_have_the_members_of_the_stub(core: ModuleType, stub: ast.Module) -> None:
    for name, node in names(stub.body).items():
        if isinstance(node, ast.ClassDef):
            assert sorted(names(node.body)) == sorted(public(getattr(core, name))), name


def test_the_functions_have_the_parameters_of_the_stub(core: ModuleType, stub: ast.Module) -> None:
    pairs = [(core, stub.body)]
    pairs += [
        (getattr(core, name), node.body)
        for name, node in names(stub.body).items()
        if isinstance(node, ast.ClassDef)
    ]
    checked = 0
    for owner, body in pairs:
        for name, node in names(body).items():
            text = getattr(getattr(owner, name), "__doc__", None)
            if isinstance(node, Function) and not node.decorator_list and text:
                assert parameters(text) == stub_parameters(node), name
                checked += 1
    assert checked > 0


def test_the_reader_of_docstrings() -> None:
    text = "submit(self: a.Engine, parts: dict[str, int], n: int = f(1, 2), *, m: A) -> B\n\nText."
    assert parameters(text) == ["self", "parts", "n", "m"]
