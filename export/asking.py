"""How a guard is asked: the prompt of a model directory, from the options of an export."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from tokenizers import Tokenizer

from stepguard.errors import PromptError
from stepguard.prompt import Prompt, build_prompt
from stepguard.taxonomy import Taxonomy, taxonomy_of

from .checkpoint import Checkpoint
from .official import require_prompt
from .provenance import names_of
from .tokenizer import TokenizerParts


class Asking(TypedDict, total=False):
    """Options of an export; each may be left out or None. `build_prompt` explains the last four."""

    taxonomy: Taxonomy | Path | str | None
    """The labels of a diagnosis: a file of one's own, or the name of a shipped taxonomy (base,
    claw, codex, all); without it "base", where the prompt asks for its labels, and else none."""

    prompt: Path | str | None
    """A prompt file; excludes `template`."""
    template: str | None
    """"short" for our own prompt, which other guards get without asking."""
    prompt_taxonomy: Path | str | None
    """The file for the place `{taxonomy}` of the prompt."""
    answer: str | None
    mode: str | None
    thinking: bool | None
    rationale: bool | None


def files_of(asking: Asking) -> list[Path]:
    """The files that are read."""
    given = (asking.get("prompt"), asking.get("prompt_taxonomy"))
    return [Path(file) for file in given if file]


def labels_of(asking: Asking) -> Taxonomy | None:
    """The labels of a diagnosis that were asked for. Raises TaxonomyError."""
    taxonomy = asking.get("taxonomy")
    return None if taxonomy is None else taxonomy_of(taxonomy)


def check_asking(asking: Asking) -> None:
    """Raises PromptError for options that exclude each other."""
    prompt, template = asking.get("prompt"), asking.get("template")
    if template not in (None, "short") or (template and prompt):
        raise PromptError(
            "template",
            expected='"short" or a prompt file, not both',
            got=f"template {template!r}, prompt {prompt}",
        )


def template_text(checkpoint: Checkpoint, asking: Asking) -> str:
    """The text of the prompt file, or "short". Raises PromptError."""
    check_asking(asking)
    prompt = asking.get("prompt")
    if prompt is not None:
        return _text(prompt)
    if asking.get("template") is None:
        require_prompt(names_of(checkpoint))
    return "short"


def prompt_of(text: str, parts: TokenizerParts, tokenizer: Tokenizer, asking: Asking) -> Prompt:
    """The prompt of a template's text. Raises PromptError."""
    taxonomy = asking.get("prompt_taxonomy")
    return build_prompt(
        text,
        parts.chat_template,
        parts.special,
        tokenizer,
        variables=parts.variables,
        taxonomy=None if taxonomy is None else _text(taxonomy),
        answer=asking.get("answer"),
        mode=asking.get("mode"),
        thinking=asking.get("thinking"),
        rationale=asking.get("rationale"),
    )


def _text(file: Path | str) -> str:
    try:
        # Newlines as they are: the file is recognised by its hash.
        return Path(file).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(str(file), expected="a prompt file in UTF-8", got=str(error)) from error
