"""The tokenizer and the chat template of a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepguard.errors import TokenizerError

from .tokenizer import AddedToken, TokenizerParts, strip


def tokenizer_of_folder(folder: Path, vocabulary: int) -> TokenizerParts:
    """Reads tokenizer.json and the template; TokenizerError when absent or of another kind."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        code = (
            "from transformers import AutoTokenizer as T; "
            f"T.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
        raise TokenizerError(
            str(folder),
            expected="tokenizer.json",
            got="none",
            fix=f'Fetch it, or write it once: python -c "{code}"',
        )
    tokenizer = _json(path)
    text, special = strip(path.name, tokenizer, _added(path, tokenizer), vocabulary)
    config_path = folder / "tokenizer_config.json"
    config = _json(config_path) if config_path.is_file() else {}
    return TokenizerParts(text, special, _template(folder, config), _variables(config))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise TokenizerError(path.name, expected="JSON", got=str(error)) from error
    if not isinstance(value, dict):
        raise TokenizerError(path.name, expected="an object", got=type(value).__name__)
    return value


def _added(path: Path, tokenizer: Mapping[str, Any]) -> list[AddedToken]:
    try:
        return [
            AddedToken(token["content"], token["id"], bool(token.get("special")))
            for token in tokenizer.get("added_tokens") or []
        ]
    except (KeyError, TypeError) as error:
        raise TokenizerError(
            path.name, expected="added_tokens with content and id", got=repr(error)
        ) from error


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    """The texts of bos_token, eos_token and their like."""
    named = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = config.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            named[name] = value
    return named


def _template(folder: Path, config: Mapping[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if template is None and (folder / "chat_template.json").is_file():
        template = _json(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template}
        template = named.get("default")
    if not isinstance(template, str):
        raise TokenizerError(
            str(folder),
            expected="a chat template in chat_template.jinja or tokenizer_config.json",
            got="none",
            fix="Fetch the whole checkpoint; a base model without a template is not supported",
        )
    return template
