"""What the prompt tests share: golden renderings, labelled records, prompts for each tokenizer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers_for_test as made

from stepguard.prompt import Encoder, Prompt, build_prompt

BINARY, FINE = "v1.0/trajectory_binary", "v1.0/trajectory_finegrained"
COARSE, UNIFIED = "v1.5/coarse_grained_moderation", "v1.5/unified_safety_classification"
TAXONOMY = "v1.0/taxonomy_finegrained"
OFFICIAL_NAMES = (BINARY, FINE, COARSE, UNIFIED)
NAMES = list(made.TOKENIZERS)
SOURCES = ("agentdyn", "asse_security", "atbench_dev", "openagentsafety", "toolemu", "tracesafe")


def shared(*parts: str) -> Path:
    """A file of the folder `shared` beside the checkout; skips where it is absent."""
    path = Path(__file__).resolve().parents[3].joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"shared data is absent: {path.name}")
    return path


def official_text(name: str = BINARY) -> str:
    return shared("agentdog", "prompts", f"{name}.txt").read_bytes().decode("utf-8")


def taxonomy_text(template: str) -> str | None:
    """What stands in the place for a taxonomy; None where the template has none."""
    return official_text(TAXONOMY) if template == FINE else None


def goldens(template: str = BINARY) -> list[dict[str, Any]]:
    """The official renderings of a prompt: case, trajectory, rendered."""
    lines = shared("agentdog", "golden_prompts.jsonl").read_text("utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["template"] == template]


def records(per_source: int | None) -> Iterator[dict[str, Any]]:
    """Labelled trajectories: evenly spaced ones of every source, or all of them."""
    for source in SOURCES:
        with gzip.open(shared("data", f"{source}.jsonl.gz"), "rt", encoding="utf-8") as file:
            lines = file.readlines()
        step = max(len(lines) // per_source, 1) if per_source else 1
        yield from map(json.loads, lines[::step][:per_source])


@cache
def prompt(tokenizer: str, template: str = "short") -> Prompt:
    """The prompt of a template ("short" or an official name) in a tokenizer's own chat."""
    return build_prompt(
        template if template == "short" else official_text(template),
        made.chat_template(tokenizer),
        made.special_tokens(tokenizer),
        made.TOKENIZERS[tokenizer](),
        variables=made.variables(tokenizer),
        taxonomy=taxonomy_text(template),
    )


@cache
def encoder(tokenizer: str, template: str = "short") -> Encoder:
    return Encoder(prompt(tokenizer, template), made.TOKENIZERS[tokenizer]())


def built(template: str, chat: str = made.CHATML, **more: Any) -> Prompt:
    """A prompt in SmolLM2's tokenizer, in any chat."""
    special = made.special_tokens("smollm2")
    return build_prompt(template, chat, special, made.smollm2(), **more)
