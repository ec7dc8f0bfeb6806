"""Words that try to steer a terminal, and a look at what came out."""

from __future__ import annotations

import re
import unicodedata

# No slash and no NUL, so that it can be the name of a file.
WORDS = (
    "[red]x[bold] :bomb: [link=y]z<script>alert(1)<script>\x1b[5;7;35mA\x1b]8;;https:\x07B\x9b2J"
    "\u202eC\u2066\u200f\x7f\r\n\u2028\U000e0041"
)
_RICH = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\r")  # colours, bars, cursor


def harmless(text: str, *, coloured: bool = False) -> None:
    """Asserts that nothing of WORDS could have steered. coloured: rich's own codes are fine."""
    assert "\x1b[5;7;35" not in text
    assert "\x1b]8" not in text
    rest = _RICH.sub("", text) if coloured else text
    left = {sign for sign in rest if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert left <= {"\n"}


def whole(text: str) -> None:
    """Asserts that WORDS are in it, as they were but for escapes, wherever lines were broken."""
    flat = re.sub(r"\s+", "", text)
    shown = "[red]x[bold] :bomb: [link=y]z<script>alert(1)<script>\\x1b[5;7;35mA\\x1b]8;;https:"
    assert re.sub(r"\s+", "", shown) in flat
