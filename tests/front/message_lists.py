"""One conversation in the shape of every host, and the steps that it is."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from stepguard.messages import Transcript

ARGUMENTS = {"path": "/a", "deep": [1, {"é": None}]}
CALL = '{"name": "rm", "arguments": {"path": "/a", "deep": [1, {"é": null}]}}'
LOOK = '{"name": "ls", "arguments": {}}'

CHAT = [
    {"role": "system", "content": "Be good."},
    {"role": "user", "content": [{"type": "text", "text": "Clean up."}]},
    {
        "role": "assistant",
        "content": "I will.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}},
            {
                "id": "c2",
                "type": "function",
                "function": {"name": "rm", "arguments": json.dumps(ARGUMENTS)},
            },
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "a b"},
    {"role": "tool", "tool_call_id": "c2", "content": "gone"},
    {"role": "assistant", "content": "Done."},
]
ANTHROPIC = {
    "system": "Be good.",
    "messages": [
        {"role": "user", "content": "Clean up."},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I will."},
                {"type": "tool_use", "id": "c1", "name": "ls", "input": {}},
                {"type": "tool_use", "id": "c2", "name": "rm", "input": ARGUMENTS},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "a b"},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "gone"}],
                },
            ],
        },
        {"role": "assistant", "content": "Done."},
    ],
}
RESPONSES = {
    "instructions": "Be good.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Clean up."}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I will.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
        {
            "type": "function_call",
            "call_id": "c2",
            "name": "rm",
            "arguments": json.dumps(ARGUMENTS),
        },
        {"type": "function_call_output", "call_id": "c1", "output": "a b"},
        {"type": "function_call_output", "call_id": "c2", "output": "gone"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Done."}],
        },
    ],
}
LANGCHAIN_CALLS = [
    {"name": "ls", "args": {}, "id": "c1", "type": "tool_call"},
    {"name": "rm", "args": ARGUMENTS, "id": "c2", "type": "tool_call"},
]
LANGCHAIN = [
    {"type": "system", "content": "Be good."},
    {"type": "human", "content": "Clean up."},
    {"type": "ai", "content": "I will.", "tool_calls": LANGCHAIN_CALLS, "additional_kwargs": {}},
    {"type": "tool", "content": "a b", "tool_call_id": "c1"},
    {"type": "tool", "content": "gone", "tool_call_id": "c2", "status": "success"},
    {"type": "AIMessageChunk", "content": "Done."},
]
AGENTDOG = {
    "profile": "Be good.",
    "contents": [
        [
            {"role": "user", "content": "Clean up."},
            {"role": "agent", "thought": "I will.", "action": f"[{LOOK}, {CALL}]"},
            {"role": "environment", "content": "a b"},
            {"role": "environment", "content": "gone"},
            {"role": "agent", "thought": "Done.", "action": ""},
        ]
    ],
}


def dicts(form: str) -> list[Any]:
    """LangChain's other forms."""
    if form == "data":
        return [
            {"type": m["type"], "data": {k: v for k, v in m.items() if k != "type"}}
            for m in LANGCHAIN
        ]
    if form == "lc":
        names = {"system": "SystemMessage", "human": "HumanMessage", "ai": "AIMessage"}
        names |= {"tool": "ToolMessage", "AIMessageChunk": "AIMessageChunk"}
        return [
            {
                "lc": 1,
                "type": "constructor",
                "id": ["langchain", "schema", "messages", names[str(m["type"])]],
                "kwargs": m,
            }
            for m in LANGCHAIN
        ]
    return [SimpleNamespace(**m) for m in LANGCHAIN]


def texts(read: Transcript) -> list[tuple[str, list[str]]]:
    return [(s.role, [text.json for _, text in s.fields if text.json]) for s in read.steps]


EXPECTED = [
    ("user", ["Clean up."]),
    ("agent", ["I will.", f"[{LOOK}, {CALL}]"]),
    ("environment", ["a b"]),
    ("environment", ["gone"]),
    ("agent", ["Done."]),
]
