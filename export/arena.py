"""Checks of a finished graph: order of arena access, and that every name is made and used once.

ONNX Runtime sorts nodes by walking back from the outputs and keeps no order without an edge, so two
nodes that touch one arena region need a path between them.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from stepguard.errors import ExportError

ARENA_PREFIXES = ("kv.", "conv.", "delta.")


def check_arena_order(model: Any) -> None:
    """Raises ExportError when two nodes touch one arena input without a path between them.

    `model` is an onnx.ModelProto; arena inputs are graph inputs named `kv.*`, `conv.*`
    or `delta.*`.
    """
    graph = model.graph
    arenas = {i.name for i in graph.input if i.name.startswith(ARENA_PREFIXES)}
    before = _ancestors(graph.node)
    users: dict[str, list[int]] = {}
    for place, node in enumerate(graph.node):
        for name in set(node.input) & arenas:
            users.setdefault(name, []).append(place)
    for name, places in sorted(users.items()):
        for a, b in combinations(places, 2):
            if a not in before[b] and b not in before[a]:
                raise ExportError(
                    f"graph: {name}",
                    expected="a path between any two nodes that touch it",
                    got=f"none between {graph.node[a].name} and {graph.node[b].name}",
                    fix="Let the later node take an output of the earlier one",
                )


def check_graph(model: Any) -> None:
    """Raises ExportError for names that are made twice, never made, or never used."""
    graph = model.graph
    inputs = [i.name for i in graph.input]
    weights = [t.name for t in graph.initializer]
    made = [*inputs, *weights, *(out for node in graph.node for out in node.output if out)]
    used = {name for node in graph.node for name in node.input if name}
    outputs = {out.name for out in graph.output}
    problems = {
        "names that are made twice": {n for n in made if made.count(n) > 1}
        if len(made) != len(set(made))
        else set(),
        "names that nothing makes": (used | outputs) - set(made),
        "weights that nothing reads": set(weights) - used,
        "nodes without a name of their own": _repeated([node.name for node in graph.node]),
    }
    for what, names in problems.items():
        if names:
            raise ExportError("graph", expected=f"no {what}", got=", ".join(sorted(names)[:8]))
    _ancestors(graph.node)


def _repeated(names: list[str]) -> set[str]:
    return {name for name in names if not name or names.count(name) > 1}


def _ancestors(nodes: Any) -> list[set[int]]:
    """For each node the places of all nodes that it depends on; ExportError on a wrong order."""
    maker = {out: place for place, node in enumerate(nodes) for out in node.output if out}
    before: list[set[int]] = []
    for place, node in enumerate(nodes):
        direct = {maker[name] for name in node.input if name in maker}
        if any(source >= place for source in direct):
            raise ExportError(
                "graph", expected="nodes after those they read", got=f"{node.name} too early"
            )
        before.append(direct.union(*(before[source] for source in direct)))
    return before
