"""The hosts' own objects, where their packages are installed."""

from __future__ import annotations

from typing import Any

import pytest

from stepguard.messages import read_messages, tools_text


def test_langchain_messages_in_all_their_forms() -> None:
    messages = pytest.importorskip("langchain_core.messages", reason="no langchain-core")
    load = pytest.importorskip("langchain_core.load")
    call = {"name": "ls", "args": {"p": 1}, "id": "c1"}
    broken = {"name": "rm", "args": "{bad", "id": "c2", "error": "", "type": "invalid_tool_call"}
    image = {"type": "image_url", "image_url": {"url": "x"}}
    given = [
        messages.SystemMessage("Be good."),
        messages.HumanMessage([{"type": "text", "text": "Clean"}, image]),
        messages.AIMessage("I will.", tool_calls=[call], invalid_tool_calls=[broken]),
        messages.ToolMessage("gone", tool_call_id="c1"),
        messages.AIMessageChunk("Done."),
    ]
    forms: list[Any] = [given, messages.messages_to_dict(given)]
    forms += [[load.dumpd(one) for one in given], [one.model_dump() for one in given]]
    for form in forms:
        read = read_messages(form)
        assert read.profile == "Be good."
        assert read.steps == read_messages(given).steps
        assert [call.id for call in read.entries[1].calls] == ["c1", "c2"]
        assert read.entries[2].answers == "c1"
        assert [one.kind for one in read.uncovered] == ["image_url"]


def test_langchain_tools() -> None:
    tools = pytest.importorskip("langchain_core.tools", reason="no langchain-core")

    @tools.tool
    def mul(a: int) -> int:
        """Multiplies."""
        return a

    assert '{"name": "mul", "description": "Multiplies.", "parameters": {"a"' in tools_text([mul])


def test_openai_objects() -> None:
    chat = pytest.importorskip("openai.types.chat", reason="no openai")
    responses = pytest.importorskip("openai.types.responses")
    function = {"name": "f", "arguments": '{"a":1}'}
    message = {"tool_calls": [{"id": "c", "type": "function", "function": function}]}
    text = {"type": "output_text", "text": "hi", "annotations": []}
    said = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    for given in (
        [
            chat.ChatCompletionMessage.model_validate(
                {"role": "assistant", **message, "content": "hi"}
            )
        ],
        [
            responses.ResponseOutputMessage.model_validate({**said, "content": [text]}),
            responses.ResponseFunctionToolCall(type="function_call", call_id="c", **function),
        ],
    ):
        read = read_messages(given)
        (step,) = read.steps
        texts = [value.json for _, value in step.fields]
        assert texts == ["hi", '{"name": "f", "arguments": {"a": 1}}']
        assert read.entries[0].calls[0].id == "c"
        assert read.uncovered == ()


def test_anthropic_objects() -> None:
    types = pytest.importorskip("anthropic.types", reason="no anthropic")
    content = [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "text", "text": "a", "citations": None},
        {"type": "tool_use", "id": "u", "name": "f", "input": {"q": 1}},
    ]
    about = {"id": "x", "type": "message", "model": "m", "stop_reason": "tool_use"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = types.Message.model_validate(
        {**about, "role": "assistant", "stop_sequence": None, "usage": usage, "content": content}
    )
    for given in (message, {"role": "assistant", "content": message.content}):
        read = read_messages([given])
        (step,) = read.steps
        texts = [value.json for _, value in step.fields]
        assert texts == ["t\na", '{"name": "f", "arguments": {"q": 1}}']
        assert read.uncovered == ()
