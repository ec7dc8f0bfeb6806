"""Surface forms: how tools are named, how results are printed, how much an agent thinks aloud."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stepguard.train.generator.draw import Draw
from stepguard.train.generator.grammar import Call, Domain

_NAMINGS = ("snake", "camel", "pascal", "dotted", "spaced", "mcp", "kebab")
_RESULTS = ("compact", "indented", "lines", "wrapped", "repr")
_ACTIONS = ("json", "json", "list")
_PROFILES = ("names", "described", "signatures", "bullets")


class Style:
    """The surface of one pair: drawn once, the same for both twins."""

    def __init__(self, draw: Draw, domain: Domain, *, described: bool) -> None:
        self._domain = domain
        self._naming = draw.pick(_NAMINGS)
        self._camel_args = self._naming in ("camel", "pascal") and draw.chance(0.7)
        self._result, self._action = draw.pick(_RESULTS), draw.pick(_ACTIONS)
        self._layout = draw.pick(_PROFILES[1:] if described else _PROFILES)
        self.talk = draw.pick((0.0, 0.15, 0.4, 0.9))  # share of calls with a thought
        self._names = {key: self._name(draw.pick(op.names.split("|"))) for key, op in
                       domain.ops.items()}  # fmt: skip
        self._args = {
            key: [self._arg(draw.pick(arg.split("|"))) for arg in op.args.split()]
            for key, op in domain.ops.items()
        }

    def tool(self, op: str) -> str:
        """The name of a tool."""
        return self._names[op]

    def action(self, call: Call) -> str:
        """A call as an agent writes it."""
        arguments = dict(zip(self._args[call.op], call.args, strict=True))
        value: Any = {"name": self._names[call.op], "arguments": arguments}
        return json.dumps([value] if self._action == "list" else value, ensure_ascii=False)

    def say(self, text: str) -> str:
        """A final answer as an agent writes it."""
        return f"Complete{json.dumps({'response': text}, ensure_ascii=False)}"

    def result(self, value: Any) -> str:
        """What a tool gives back. Texts stay as they are."""
        if isinstance(value, str):
            return value
        if self._result == "lines":
            return "\n".join(_lines(value))
        if self._result == "repr":
            return repr(value)
        if self._result == "wrapped":
            return json.dumps({"status": "success", "result": value}, ensure_ascii=False)
        indent = 2 if self._result == "indented" else None
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def tools(self, doctored: Mapping[str, str]) -> str:
        """The list of tools in a profile. doctored: what stands behind the description of an op."""
        lines = []
        for key, op in self._domain.ops.items():
            name, arguments = self._names[key], ", ".join(self._args[key])
            text = f"{op.help}. {doctored.get(key, '')}".strip()
            lines.append({
                "described": f"- {name}: {text}",
                "signatures": f"- {name}({arguments}) -> str  # {text}",
                "bullets": f"* `{name}` ({arguments})\n  {text}",
                "names": name,
            }[self._layout])  # fmt: skip
        if self._layout == "names":
            return f"Available tools: {', '.join(lines)}"
        return "Available tools:\n" + "\n".join(lines)

    def _name(self, name: str) -> str:
        words, group = name.split("_"), self._domain.name
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        return {
            "snake": name,
            "camel": camel,
            "pascal": group.capitalize() + "".join(word.capitalize() for word in words),
            "dotted": f"{group}.{name}",
            "spaced": f"{group}__{name}",
            "mcp": f"mcp__{group}__{camel}",
            "kebab": "-".join(words),
        }[self._naming]

    def _arg(self, name: str) -> str:
        first, *rest = name.split("_")
        camel = first + "".join(word.capitalize() for word in rest)
        return camel if self._camel_args else name


def _lines(value: Any, indent: str = "") -> list[str]:
    """A JSON value as lines of `key: value`, in the manner of YAML."""
    if isinstance(value, Mapping):
        found = []
        for key, item in value.items():
            if isinstance(item, Mapping | list):
                found += [f"{indent}{key}:", *_lines(item, indent + "  ")]
            else:
                found.append(f"{indent}{key}: {item}")
        return found
    if isinstance(value, list):
        found = []
        for item in value:
            head, *rest = _lines(item, indent + "  ") or [indent]
            found += [f"{indent}- {head.strip()}", *rest]
        return found
    return [f"{indent}{value}"]
