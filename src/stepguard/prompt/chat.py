"""Rendering a checkpoint's chat template around a user message, once, at export."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from stepguard.errors import PromptError

__all__ = ["render_chat"]

# Some templates print the date. It is pinned, or the prefix would change every day; this is the
# day that Llama 3.1's own template falls back to.
_DATE = datetime.datetime(2024, 7, 26)
_NAMES = {"%b": "Jul", "%B": "July", "%a": "Fri", "%A": "Friday"}

# transformers marks what the assistant wrote with a block of its own, which prints its content.
_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


def render_chat(
    template: str, message: str, variables: Mapping[str, str], *, thinking: bool = False
) -> str:
    """The text of one user message with the generation prompt, no system message.

    `thinking` is what templates that know thoughts are told; `variables` are further names that
    they use, like `bos_token` ("" where the checkpoint has none). Raises PromptError for a template
    that cannot be rendered in the sandbox, or that prints a token that it was not given.
    """
    from jinja2 import Undefined
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Missing(Undefined):
        """Prints nothing, as in transformers, but a token that was not given is an error."""

        def __str__(self) -> str:
            if str(self._undefined_name).endswith("_token"):
                self._fail_with_undefined_error()
            return ""

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
        undefined=Missing,
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime
    values: dict[str, Any] = {
        **variables,
        "messages": [{"role": "user", "content": message}],
        "add_generation_prompt": True,
        "enable_thinking": thinking,
        "date_string": _strftime("%d %b %Y"),
        "tools": None,
        "documents": None,
    }
    template = _GENERATION.sub(lambda m: m[1] + ("endif" if m[2] else "if true") + m[3], template)
    try:
        return environment.from_string(template).render(values)
    except (
        TemplateError,
        TypeError,
        ValueError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as error:
        got = f"{type(error).__name__}: {error}"[:200]
        fix = "Give the tokens that it names, like bos_token, or another chat template."
        raise PromptError(
            "chat template", expected="a template of text", got=got, fix=fix
        ) from error


def _tojson(value: object, indent: int | None = None, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: object) -> NoReturn:
    raise PromptError(
        "chat template", expected="a lone user message to be allowed", got=str(message)[:200]
    )


def _strftime(pattern: str) -> str:
    # Names by hand: strftime follows the locale of the process.
    return _DATE.strftime(re.sub("%[bBaA]", lambda match: _NAMES[match.group()], pattern))
