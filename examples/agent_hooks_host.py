"""A host of Agent Hooks with stepguard. Run: python examples/agent_hooks_host.py MODEL_DIRECTORY"""

from __future__ import annotations

import asyncio
import sys

from agent_hooks import AgentContextBuilder, InterceptionBlocked, InterceptionEmitter

from stepguard import Guard
from stepguard.gate import Gate
from stepguard.integrations.agent_hooks import StepguardInterceptor


def delete_file(path: str) -> str:
    """Stands for the tools of the agent."""
    return f"{path} is gone"


async def agent(gate: Gate) -> None:
    """Stands for the loop of a host. In Microsoft Agent Framework it is this alone:
    create_agent_hooks_middleware({"stepguard": StepguardInterceptor(gate)})
    """
    emitter = InterceptionEmitter().register(StepguardInterceptor(gate), "stepguard")
    build = AgentContextBuilder(agent_id="tidy", framework="example", session_id="1")
    await emitter.emit(build.input(content="Tidy up my downloads."))
    call = {"call_id": "1", "name": "delete_file", "args": {"path": "/home"}}
    try:
        await emitter.emit(build.pre_tool_call(**call))
        print("ran:", delete_file("/home"))
    except InterceptionBlocked as blocked:
        print("blocked:", blocked.result.verdict.message)
    await emitter.emit(build.agent_shutdown(reason="completed"))


with Guard.load(sys.argv[1]) as guard, Gate(guard) as gate:
    asyncio.run(agent(gate))
