"""Conversations: whole message lists again and again, of which only what is new is read."""

from __future__ import annotations

from stepguard.conversations.conversations import Conversations
from stepguard.conversations.question import Question

__all__ = ["Conversations", "Question"]
