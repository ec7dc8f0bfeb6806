"""Prompts: steps become text by the rules of a form, text becomes ids by the token law."""

from __future__ import annotations

from stepguard.prompt.answers import ANSWERS, Answer
from stepguard.prompt.build import build_prompt
from stepguard.prompt.diagnosis import diagnosis_mode, place_fields
from stepguard.prompt.encoder import Border, Encoder, Extension
from stepguard.prompt.mode import Mode, Spelling
from stepguard.prompt.official import OFFICIAL, OfficialPrompt, recognise
from stepguard.prompt.step import Step, Trajectory
from stepguard.prompt.template import MODES, Prompt
from stepguard.prompt.tokenizer import load_tokenizer

__all__ = [
    "ANSWERS",
    "MODES",
    "OFFICIAL",
    "Answer",
    "Border",
    "Encoder",
    "Extension",
    "Mode",
    "OfficialPrompt",
    "Prompt",
    "Spelling",
    "Step",
    "Trajectory",
    "build_prompt",
    "diagnosis_mode",
    "load_tokenizer",
    "place_fields",
    "recognise",
]
