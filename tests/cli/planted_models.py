"""Planted model directories and checkpoints."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from stepguard.default_guard import read_kept
from stepguard.manifest import FILE
from tests.cli.planted import WORDS
from tests.cli.planted_place import Place
from tests.cli.ran import Ran


def inspected(at: Place) -> Ran:
    return at.run("inspect", at.model())


def inspected_as_json(at: Place) -> Ran:
    return at.run("inspect", at.model(), "--json")


def inspected_damage(at: Place) -> Ran:
    model = at.model()
    value = json.loads((model / FILE).read_text())
    value[WORDS] = value["licence"]["name"]
    (model / FILE).write_text(json.dumps(value))
    return at.run("inspect", model)


def inspected_value(at: Place) -> Ran:
    model = at.model()
    value = json.loads((model / FILE).read_text())
    value["quantisation"]["kv"] = WORDS
    (model / FILE).write_text(json.dumps(value))
    return at.run("inspect", model)


def no_model(at: Place) -> Ran:
    return at.run("inspect", at.folder / WORDS)


def exported(at: Place) -> Ran:
    folder = at.checkpoint(f"c{WORDS}")
    (folder / "README.md").write_text(f"---\nlicense: {WORDS[:20]}\x1b[5;7;35m\u202e\n---\n")
    return at.run("export", folder, at.folder / f"out{WORDS}")


def exported_nothing(at: Place) -> Ran:
    (at.folder / WORDS).mkdir()
    return at.run("export", at.folder / WORDS, at.folder / "out")


def exported_strange_config(at: Place) -> Ran:
    folder = at.checkpoint("c")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": WORDS}))
    return at.run("export", folder, at.folder / "out")


def default_path(at: Place) -> Ran:
    at.patch.setenv("XDG_DATA_HOME", str(at.folder / WORDS))
    at.patch.setattr(sys.stdout, "isatty", lambda: True)
    return at.run("default", "path")


def default_exported(at: Place) -> Ran:
    kept = read_kept()
    planted = replace(kept, base=replace(kept.base, package=WORDS))
    at.patch.setattr("stepguard.cli.default.read_kept", lambda: planted)
    return at.run("default", "export", at.folder / "out")


CASES = [
    inspected,
    inspected_as_json,
    inspected_damage,
    inspected_value,
    no_model,
    exported,
    exported_nothing,
    exported_strange_config,
    default_path,
    default_exported,
]
SHOW = {inspected, no_model, exported, exported_nothing, default_path}
