"""A LangChain agent behind stepguard. Run: python examples/langchain_agent.py MODEL_DIRECTORY"""

from __future__ import annotations

import sys
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from stepguard import Guard
from stepguard.gate import Gate
from stepguard.integrations.langchain import StepguardMiddleware


class Scripted(GenericFakeChatModel):
    """Stands for your chat model."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


@tool
def delete_file(path: str) -> str:
    """Deletes a file."""
    return f"{path} is gone"


call = {"name": "delete_file", "args": {"path": "/home"}, "id": "1"}
model = Scripted(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("Done.")]))

with Guard.load(sys.argv[1]) as guard, Gate(guard) as gate:
    agent = create_agent(model, [delete_file], middleware=[StepguardMiddleware(gate)])
    state = agent.invoke({"messages": [("user", "Tidy up my downloads.")]})
    for message in state["messages"]:
        print(f"{message.type:6} {message.text or message.tool_calls}")
