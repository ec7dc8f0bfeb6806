"""Verdicts on planted trajectories, and files that are none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from stepguard.guard import Guard
from stepguard.prompt import place_fields
from stepguard.taxonomy import Dimension, Label, Taxonomy, lines_of
from tests.cli.planted import WORDS
from tests.cli.planted_place import STEPS, Place
from tests.cli.ran import Ran
from tests.front.fakes import byte_tokenizer, make_guard, make_prompt


def one(at: Place) -> Ran:
    return at.run("moderate", f"model{WORDS}", at.trajectory())


def one_as_json(at: Place) -> Ran:
    return at.run("moderate", f"model{WORDS}", at.trajectory(), "--json")


def many(at: Place) -> Ran:
    return at.run("moderate", f"model{WORDS}", at.many())


def unavailable(at: Place) -> Ran:
    real = at.engine.submit

    def submit(*segments: Any, **options: Any) -> Any:
        ticket = real(*segments, **options)
        ticket.results = [replace(r, message=WORDS) if r.reason else r for r in ticket.results]
        return ticket

    at.engine.failures = [{}, {0: "memory"}]
    at.patch.setattr(at.engine, "submit", submit)
    return at.run("moderate", "model", at.trajectory())


def diagnosed(at: Place) -> Ran:
    labels = [
        Label(Dimension(name), f"{name}{i}{WORDS}", text, WORDS)
        for name in ("risk_source", "failure_mode", "real_world_harm")
        for i, text in enumerate(("page", "tool"))
    ]
    taxonomy = Taxonomy("test", tuple(labels))
    fields = place_fields(make_prompt(), byte_tokenizer(), taxonomy, lines_of("word"))
    changes: dict[str, Any] = {"taxonomy": WORDS, "diagnosis": fields.to_manifest()}
    at.patch.setattr(Guard, "load", lambda *_, **__: make_guard(at.engine, **changes))
    at.patch.setattr("stepguard.taxonomy.LabelRows.margin", lambda *_: 2.0)
    return at.run("moderate", "model", at.many(), "--diagnose")


def streamed(at: Place) -> Ran:
    at.stdin(json.dumps({"profile": WORDS}), *map(json.dumps, STEPS))
    return at.run("moderate", "model", "-")


def streamed_wrong(at: Place) -> Ran:
    at.stdin(json.dumps({"profile": WORDS}), json.dumps({"role": WORDS}))
    return at.run("moderate", "model", "-")


def no_file(at: Place) -> Ran:
    return at.run("moderate", "model", at.folder / f"{WORDS}.json")


def no_json(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.json"
    path.write_text(WORDS)
    return at.run("moderate", "model", path)


def no_role(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.json"
    path.write_text(json.dumps({"contents": [{"role": WORDS}]}))
    return at.run("moderate", "model", path)


def other_keys(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.json"
    path.write_text(json.dumps({WORDS: 1}))
    return at.run("moderate", "model", path)


def reported(at: Place) -> Ran:
    page = at.folder / f"page{WORDS}.html"
    ran = at.run("report", at.trajectory(), "-o", page, "--model", "model")
    assert page.is_file()
    return ran


def reported_other(at: Place) -> Ran:
    saved = at.folder / f"saved{WORDS}.json"
    saved.write_text(json.dumps({"trajectories": [{"verdicts": [{"status": WORDS}]}]}))
    return at.run("report", at.trajectory(), "-o", "x.html", "--verdicts", saved)


def reported_number(at: Place) -> Ran:
    return at.run("report", at.many(), "-o", "x.html", "--verdicts", "x")


CASES = [
    one,
    one_as_json,
    many,
    unavailable,
    diagnosed,
    streamed,
    streamed_wrong,
    no_file,
    no_json,
    no_role,
    other_keys,
    reported,
    reported_other,
    reported_number,
]
SHOW = {many, unavailable, no_file, reported_other}
