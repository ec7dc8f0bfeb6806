"""Text that a terminal only prints and a page only shows: what could steer is made visible."""

from __future__ import annotations

import unicodedata

# Control, format (direction marks too), surrogates, and characters that end a line.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def is_harmless(sign: str) -> bool:
    """Whether one character only shows itself."""
    return unicodedata.category(sign) not in _UNSAFE


def escaped(sign: str) -> str:
    r"""One character as an escape in ASCII: \x1b, \u202e, \U000e0041."""
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")


def plain(text: str, most: int | None = None) -> str:
    """Text that a terminal only prints: whatever could steer it is shown as an escape.

    most: longest result in characters; what is cut off is shown as an ellipsis.
    """
    head = text if most is None else text[: most + 1]
    # What is printable has none of it: the usual text is not looked at sign by sign.
    shown = head if head.isprintable() else "".join(map(_shown, head))
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"


def plain_lines(text: str) -> str:
    """The same, but its line breaks stay."""
    return "\n".join(map(plain, text.split("\n")))


def _shown(sign: str) -> str:
    return sign if is_harmless(sign) else escaped(sign)
