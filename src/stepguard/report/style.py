"""How a page looks, in the light and in the dark; and the only thing that it may load: this."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

# Text colours have a contrast of 4.5 and more against page and card; tests hold them to it.
LIGHT = {
    "page": "#ffffff",
    "card": "#f4f6f8",
    "text": "#1b1f24",
    "quiet": "#57606a",
    "edge": "#c9d1d9",
    "accent": "#0550ae",
    "safe": "#116329",
    "unsure": "#7d4e00",
    "unsafe": "#a40e26",
    "unavailable": "#6639ba",
}
DARK = {
    "page": "#0d1117",
    "card": "#161b22",
    "text": "#e6edf3",
    "quiet": "#9da7b3",
    "edge": "#3d444d",
    "accent": "#79c0ff",
    "safe": "#56d364",
    "unsure": "#e3b341",
    "unsafe": "#ff7b72",
    "unavailable": "#bc8cff",
}

_RULES = """\
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--page);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--edge); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; }
a { color: var(--accent); white-space: nowrap; }
ul { margin: .4rem 0; padding-left: 1.3rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
thead th { color: var(--quiet); font-weight: 600; font-size: .85rem;
  border-bottom: 1px solid var(--edge); overflow-wrap: normal; }
td.number, th.number { text-align: right; white-space: nowrap; }
tbody th { font-weight: normal; }
table.facts th { width: 9rem; color: var(--quiet); }
caption { text-align: left; font-weight: 600; padding: .6rem 0 .2rem; }
.wide { overflow-x: auto; }
.wide > svg { min-width: 38rem; }
.quiet { color: var(--quiet); }
.small { font-size: .85rem; }
.badge { display: inline-block; padding: 0 .5rem; border: 1px solid currentColor;
  border-radius: 1rem; font-size: .85rem; font-weight: 600; white-space: nowrap; }
.safe { color: var(--safe); }
.unsure { color: var(--unsure); }
.unsafe { color: var(--unsafe); }
.unavailable { color: var(--unavailable); }
.note { border-left: 4px solid var(--unsure); background: var(--card); padding: .5rem .8rem; }
.step { border: 1px solid var(--edge); border-left-width: 4px; border-radius: .4rem;
  padding: .6rem .8rem; margin: .7rem 0; background: var(--card); overflow: hidden; }
.step header { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; }
.step h3 { margin: 0; }
.step.agent { border-left-color: var(--accent); }
.step.not-safe { border-left-color: var(--unsafe); }
.step.not-sure { border-left-color: var(--unsure); }
.step.not-judged { border-left-color: var(--unavailable); }
.step:target { outline: 2px solid var(--accent); }
.key { margin: .4rem 0 0; color: var(--quiet); font-size: .85rem; }
pre { margin: .1rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; overflow-y: auto;
  max-height: 24rem; contain: paint; font: .85rem/1.5 ui-monospace, monospace; }
.escape { color: var(--unavailable); border: 1px solid currentColor; border-radius: .2rem;
  padding: 0 .1rem; font: .85em ui-monospace, monospace; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font: 12px system-ui, sans-serif; }
svg text.unsafe { fill: var(--unsafe); }
.axis { stroke: var(--quiet); stroke-width: 1; }
.gridline { stroke: var(--edge); stroke-width: 1; }
.band { fill: var(--unsure); fill-opacity: .16; }
.threshold { stroke: var(--unsure); stroke-width: 1.5; stroke-dasharray: 6 4; }
.curve { fill: none; stroke: var(--quiet); stroke-width: 1.5; }
.turn { stroke: var(--unsafe); stroke-width: 1.5; stroke-dasharray: 2 3; }
.point { fill: currentColor; stroke: var(--page); stroke-width: 1; }
.cross { fill: none; stroke: currentColor; stroke-width: 2; }
.bar { width: 9rem; height: .8rem; margin-top: .35rem; }
.bar .all { fill: var(--edge); }
.bar .part { fill: var(--accent); }
td.chart { width: 9.6rem; }
details > summary { cursor: pointer; color: var(--accent); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .85rem; }
.legend svg { display: inline-block; width: 14px; height: 14px; vertical-align: -2px; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  pre { max-height: none; overflow: visible; }
  .wide { overflow: visible; }
  .wide > svg { min-width: 0; }
  .step header, tr, svg { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""


def style() -> str:
    """The style sheet."""
    light, dark = _variables(LIGHT), _variables(DARK)
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"{_RULES}"
    )


def policy(text: str) -> str:
    """A content security policy that allows a style sheet of this very text, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
