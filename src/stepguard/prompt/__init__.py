"""Prompts: steps become text by the rules of a form, text becomes ids by the token law."""

from __future__ import annotations

from stepguard.prompt.build import build_prompt
from stepguard.prompt.encoder import Border, Encoder, Extension
from stepguard.prompt.official import OFFICIAL, OfficialPrompt, recognise
from stepguard.prompt.step import Step, Trajectory
from stepguard.prompt.template import Prompt, Spelling
from stepguard.prompt.tokenizer import load_tokenizer

__all__ = [
    "OFFICIAL",
    "Border",
    "Encoder",
    "Extension",
    "OfficialPrompt",
    "Prompt",
    "Spelling",
    "Step",
    "Trajectory",
    "build_prompt",
    "load_tokenizer",
    "recognise",
]
