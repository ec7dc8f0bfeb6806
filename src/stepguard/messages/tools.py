"""The tools that an agent has, as text for its profile: a line of JSON for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.errors import TrajectoryError
from stepguard.messages.values import empty, json_text, kind, listed, plain

_HEAD = "Available tools:"
# What different hosts call the schema of the arguments.
_SCHEMA = ("parameters", "params_json_schema", "input_schema", "inputSchema", "args")
_SETTINGS = ("cache_control", "strict")


def tools_text(tools: object) -> str:
    """The tools of a request, or objects of an agent's tools: "" for none.

    Raises:
        TrajectoryError: names the tool that has no name.
    """
    found = listed(tools, "tools", "a list of tools")
    lines = [_line(tool, f"tools[{i}]") for i, tool in enumerate(found)]
    return "\n".join([_HEAD, *lines]) if lines else ""


def _line(tool: object, where: str) -> str:
    if isinstance(tool, str):
        return json_text({"name": tool}, where)
    return json_text(_fields(tool, where), where)


def _fields(tool: object, where: str) -> dict[str, Any]:
    given = tool if isinstance(tool, Mapping) else _attributes(tool) or plain(tool)
    if given is None:
        raise TrajectoryError(where, expected="a tool with a name", got=kind(tool))
    inner = given.get("function")
    given = inner if isinstance(inner, Mapping) else given
    if not isinstance(given.get("name", given.get("type")), str):
        raise TrajectoryError(where, expected="a tool with a name", got=kind(given))
    named = {k: given[k] for k in ("name", "description") if not empty(given.get(k))}
    schema = next((given[k] for k in _SCHEMA if not empty(given.get(k))), None)
    if schema is not None:
        named["parameters"] = schema
    known = {"name", "description", *_SCHEMA, *_SETTINGS}
    more = {k: v for k, v in given.items() if k not in known and not empty(v)}
    if more.get("type") in ("function", "custom") and named.get("name"):
        del more["type"]
    return {**named, **more}


def _attributes(tool: object) -> dict[str, Any] | None:
    """Of an object like a LangChain tool, an agent's function tool or one of MCP."""
    name = getattr(tool, "name", None)
    if not isinstance(name, str):
        return None
    found: dict[str, Any] = {"name": name}
    if isinstance(about := getattr(tool, "description", None), str):
        found["description"] = about
    schemas = (getattr(tool, key, None) for key in _SCHEMA)
    schema = next((one for one in schemas if isinstance(one, Mapping) and one), None)
    return found if schema is None else {**found, "parameters": schema}
