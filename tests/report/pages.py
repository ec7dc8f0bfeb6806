"""Pages to look at, and a reader of them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from stepguard import Step, Trajectory
from stepguard.report import Shown, page, read_judgement

PLANTED = {
    "script": "<script>alert(1)</script>",
    "closing": "</pre></style></title></script><script src=//x></script><style>*{display:none}",
    "handler": "\"><img src=x onerror=alert(1)>' onmouseover=alert(1) x='",
    "link": '<a href="javascript:alert(1)">x</a> [x](javascript:alert(1))',
    "svg": "<svg onload=alert(1)><foreignObject><iframe src=//x></svg>",
    "comment": "<!-- --><!DOCTYPE html><![CDATA[x]]><?xml x?>",
    "entity": "&lt;script&gt; &#60;b&#62; &amp;",
    "meta": '<meta http-equiv="refresh" content="0;url=//x"><base href="//x">',
    "ansi": "\x1b[31mred\x1b[0m \x1b[2J\x9b31m \x07\x08",
    "osc8": "\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x1b\\ \x9d8;;x\x9c",
    "bidi": "\u202eevil\u202c \u2066a\u2069 \u200f\u061c",
    "markup": "[red]x[/] [link=https://x.example]y[/link] :bomb:",
    "surrogate": "\ud800 \udfff",
    "nul": "a\0b",
    "lines": "a\r\nb\u2028c\u2029d\x0be\x0cf\x85g",
    "tags": "\U000e0041\U000e007f \ufeff\u200b\u00ad",
}
EVIL = "\n".join(PLANTED.values())


class Read(HTMLParser):
    """Elements and texts of a page. `skeleton` leaves out escapes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.other: list[str] = []
        self.feed(text)
        self.close()

    @property
    def skeleton(self) -> list[tuple[str, tuple[tuple[str, str | None], ...]]]:
        return [one for one in self.tags if ("class", "escape") not in one[1]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        self.other.append(decl)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        self.other.append(data)


def verdict(step: int, /, **changes: Any) -> dict[str, Any]:
    """A verdict as `moderate --json` prints it."""
    return {
        "allowed": True,
        "status": "safe",
        "guard": {"model": "a" * 64, "prompt": "b" * 64},
        "mode": "first_token",
        "step": step,
        "reason": None,
        "message": "",
        "margin": -2.0,
        "score": 0.12,
        "calibrated": True,
        "coverage": 1.0,
        "tokens_read": 120,
        "neutralised": 0,
        "capped": 0,
        "unreadable": 0,
        "left_out": [],
        "windows": 1,
        "rationale": None,
        "latency_ms": 84.2,
        "diagnosis": None,
        "second": None,
        **changes,
    }


def diagnosis(words: str = "") -> dict[str, Any]:
    return {
        "complete": True,
        "best": {},
        "order": ["risk_source", "failure_mode", "real_world_harm"],
        "risk_source": {f"indirect_prompt_injection{words}": 0.81, "user": 0.12, "tool": 0.07},
        "failure_mode": {f"mode_{i}{words}": (14 - i) / 105 for i in range(14)},
        "real_world_harm": {"money": 0.9, "mind": 0.1},
        "out_of_vocabulary": {"risk_source": 0.02, "failure_mode": 0.3, "real_world_harm": 0.0},
        "reason": None,
        "message": "",
        "latency_ms": 61.0,
    }


def value(verdicts: list[dict[str, Any]], words: str = "", **model: Any) -> dict[str, Any]:
    """What `moderate --json` prints for one trajectory. words: content, wherever there can be."""
    facts = {
        "path": f"models/guard{words}",
        "sha256": "c" * 64,
        "prompt": f"trajectory_binary{words}",
        "prompt_sha256": "d" * 64,
        "trained": True,
        "isa": f"avx2{words}",
        "threads": 3,
        "kv": "fp16",
        "activations": "int8",
        "seconds": 1.25,
        "calibrated": True,
        "low": 0.35,
        "high": 0.65,
    }
    return {
        "model": {**facts, **model},
        "trajectories": [{"id": None, "verdicts": verdicts}],
        "status": "safe",
        "exit_status": 0,
        "note": None,
    }


def steps_with(words: str) -> Trajectory:
    """Eight steps, content in every place."""
    steps = []
    for index in range(4):
        steps.append(Step.user(f"Pay the invoice.{words}") if index == 0 else
                     Step.environment(f"Result {index}{words}"))  # fmt: skip
        steps.append(
            Step.agent(
                thought=f"I think{words}",
                action=f'{{"name": "pay{words}"}}',
                **{f"key{words}": "x"},
            )
        )
    return Trajectory(f"May pay.{words}", tuple(steps))


def full(words: str = "") -> str:
    """A page with every part that a page can have. words: content, wherever there can be."""
    verdicts = [
        verdict(1),
        verdict(3, status="unsure", score=0.5, margin=0.01),
        verdict(
            5,
            status="unsafe",
            score=0.93,
            margin=2.6,
            diagnosis=diagnosis(words),
            rationale=f"It pays somebody else.{words}",
        ),
        verdict(
            7,
            status="unavailable",
            reason="overflow",
            message=f"too long{words}",
            margin=None,
            score=None,
            coverage=0.8,
            left_out=[[2, 3]],
            neutralised=2,
            unreadable=1,
            capped=1,
            windows=3,
        ),
    ]
    judgement = read_judgement(value(verdicts, words), 0, "saved")
    return page(
        Shown(f"trajectory.json{words}", steps_with(words), judgement, note=f"Note.{words}")
    )
