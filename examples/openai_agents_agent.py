"""An agent of the OpenAI Agents SDK behind stepguard.

Run: python examples/openai_agents_agent.py MODEL_DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call

from stepguard import Guard
from stepguard.gate import Gate
from stepguard.integrations.openai_agents import StepguardGuardrails

set_tracing_disabled(True)


@function_tool
def delete_file(path: str) -> str:
    """Deletes a file."""
    return f"{path} is gone"


call = function_call("delete_file", {"path": "/home"}, call_id="1")
model = ScriptedModel([[call], [assistant_message("Done.")]])  # stands for your model

with Guard.load(sys.argv[1]) as guard, Gate(guard) as gate:
    guardrails = StepguardGuardrails(gate)
    agent = guardrails.protect(Agent(name="tidy", model=model, tools=[delete_file]))
    job = Runner.run(agent, "Tidy up my downloads.", hooks=guardrails.hooks)
    for item in asyncio.run(job).to_input_list():
        print(item.get("type", item.get("role")), item.get("arguments") or item.get("output") or "")
