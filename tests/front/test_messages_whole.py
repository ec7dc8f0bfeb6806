"""Nothing of a message list is lost: what is not in the steps is listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard.messages import Transcript, read_messages

# Words that occur once, so that each is looked for by itself.
WORDS = st.text(st.characters(codec="utf-8"), max_size=6).map(lambda t: t)


class Marks:
    """Makes strings that can be told apart."""

    def __init__(self, draw: Any) -> None:
        self.draw, self.made = draw, []

    def text(self) -> str:
        self.made.append(f"<{len(self.made)}>{self.draw(WORDS)}")
        return self.made[-1]

    def arguments(self) -> dict[str, Any]:
        return {self.text(): [self.text(), {"n": self.draw(st.integers(-5, 5))}]}


@st.composite
def chats(draw: Any) -> tuple[list[Any], list[str]]:
    make = Marks(draw)
    parts = {
        "text": lambda: {"type": "text", "text": make.text()},
        "refusal": lambda: {"type": "refusal", "refusal": make.text()},
        "thinking": lambda: {"type": "thinking", "thinking": make.text()},
        "plain": make.text,
        "image": lambda: {"type": "image_url", "image_url": {"url": make.text()}},
        "odd": lambda: {"type": "novelty", "value": make.text()},
        "beside": lambda: {"type": "text", "text": make.text(), "novelty": make.text()},
        "untyped": lambda: {"value": make.text()},
        "document": lambda: {
            "type": "document",
            "source": {"type": "text", "data": make.text()},
            "title": make.text(),
        },
    }

    def content() -> Any:
        kinds = draw(st.lists(st.sampled_from([*parts]), max_size=4))
        return [parts[kind]() for kind in kinds] if draw(st.booleans()) else make.text()

    def call() -> dict[str, Any]:
        arguments = json.dumps(make.arguments()) if draw(st.booleans()) else make.text()
        return {
            "id": "i",
            "type": "function",
            "function": {"name": make.text(), "arguments": arguments},
        }

    def message() -> dict[str, Any]:
        kind = draw(st.sampled_from(["user", "assistant", "tool", "blocks", "results"]))
        if kind == "assistant":
            calls = [call() for _ in range(draw(st.integers(0, 3)))]
            extra = {"reasoning_content": make.text()} if draw(st.booleans()) else {}
            return {"role": "assistant", "content": content(), "tool_calls": calls, **extra}
        if kind == "blocks":
            use = {"type": "tool_use", "id": "i", "name": make.text(), "input": make.arguments()}
            found = {"type": "web_search_tool_result", "content": [{"title": make.text()}]}
            return {"role": "assistant", "content": [parts["text"](), use, found, parts["text"]()]}
        if kind == "results":
            result = {"type": "tool_result", "tool_use_id": "i", "content": content()}
            return {"role": "user", "content": [parts["text"](), result, parts["image"]()]}
        extra = {"novelty": make.text()} if draw(st.booleans()) else {}
        return {"role": kind, "content": content(), **extra}

    return [message() for _ in range(draw(st.integers(0, 5)))], make.made


@st.composite
def responses(draw: Any) -> tuple[list[Any], list[str]]:
    make = Marks(draw)
    kinds = {
        "say": lambda: {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": make.text()}],
        },
        "user": lambda: {
            "role": "user",
            "content": [
                {"type": "input_text", "text": make.text()},
                {"type": "input_image", "image_url": make.text()},
            ],
        },
        "think": lambda: {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": make.text()}],
            "content": [{"type": "reasoning_text", "text": make.text()}],
            "encrypted_content": make.text(),
        },
        "call": lambda: {
            "type": "function_call",
            "call_id": "i",
            "name": make.text(),
            "arguments": make.text(),
        },
        "custom": lambda: {
            "type": "custom_tool_call",
            "call_id": "i",
            "name": "n",
            "input": make.text(),
        },
        "shell": lambda: {
            "type": "local_shell_call",
            "call_id": "i",
            "action": {"command": [make.text()]},
        },
        "search": lambda: {
            "type": "file_search_call",
            "id": "i",
            "queries": [make.text()],
            "results": [make.text()],
        },
        "mcp": lambda: {
            "type": "mcp_call",
            "id": "i",
            "name": make.text(),
            "arguments": "{}",
            "error": make.text(),
        },
        "output": lambda: {"type": "function_call_output", "call_id": "i", "output": make.text()},
        "parts": lambda: {
            "type": "function_call_output",
            "call_id": "i",
            "output": [{"type": "input_text", "text": make.text()}],
        },
        "screen": lambda: {
            "type": "computer_call_output",
            "call_id": "i",
            "output": {"type": "computer_screenshot", "image_url": make.text()},
        },
        "listing": lambda: {"type": "mcp_list_tools", "tools": [{"name": make.text()}]},
        "elsewhere": lambda: {"type": "compaction", "encrypted_content": make.text()},
        "image": lambda: {"type": "image_generation_call", "id": "i", "result": make.text()},
    }
    names = draw(st.lists(st.sampled_from([*kinds]), max_size=8))
    return [kinds[name]() for name in names], make.made


def shown(read: Transcript) -> str:
    return "\n".join([read.profile, *(text.json for s in read.steps for _, text in s.fields)])


def at(value: Any, place: str) -> Any:
    """What stands at a place like messages[0].content[1]."""
    for step in place.replace("]", "").replace("[", ".").split(".")[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def check(messages: list[Any], made: list[str]) -> None:
    read = read_messages(messages)
    text = shown(read)
    listed = [word for one in read.uncovered for word in strings(at(messages, one.place))]
    for word in made:
        escaped = json.dumps(word, ensure_ascii=False)[1:-1]
        twice = json.dumps(escaped, ensure_ascii=False)[1:-1]  # inside arguments that are text
        found = any(form in text for form in (word, escaped, twice))
        assert found or word in listed, word
    counted = sum(one.counted for one in read.uncovered)
    assert sum(step.unreadable for step in read.steps) == counted


@settings(max_examples=60, deadline=None)
@given(chats())
def test_nothing_of_a_chat_is_lost(made: tuple[list[Any], list[str]]) -> None:
    check(*made)


@settings(max_examples=60, deadline=None)
@given(responses())
def test_nothing_of_items_is_lost(made: tuple[list[Any], list[str]]) -> None:
    check(*made)
