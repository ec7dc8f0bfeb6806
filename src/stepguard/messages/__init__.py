"""Whole message lists, as hosts keep them, become the steps of a trajectory."""

from __future__ import annotations

from stepguard.messages.calls import ToolCall, calls_of, read_call, read_calls, with_calls
from stepguard.messages.lists import list_of, read_messages
from stepguard.messages.tools import tools_text
from stepguard.messages.transcript import Entry, Transcript, Uncovered

__all__ = [
    "Entry",
    "ToolCall",
    "Transcript",
    "Uncovered",
    "calls_of",
    "list_of",
    "read_call",
    "read_calls",
    "read_messages",
    "tools_text",
    "with_calls",
]
