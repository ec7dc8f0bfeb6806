"""Where commands run whose every input has planted words."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepguard.manifest import FILE, Manifest
from tests.cli.planted import WORDS
from tests.cli.ran import Ran
from tests.cli.test_stream import Stdin
from tests.front.fakes import FakeEngine, make_prompt
from tests.front.manifests import sample

Run = Callable[..., Ran]
STEPS = [
    {"role": "user", "content": WORDS},
    {"role": "agent", "thought": WORDS, "action": WORDS, WORDS: WORDS},
    {"role": "environment", "content": [{"type": WORDS}, WORDS]},
    {"role": "agent", "thought": "", "action": f"{WORDS}2"},
]


@dataclass
class Place:
    """Where a command runs."""

    run: Run
    folder: Path
    patch: pytest.MonkeyPatch
    engine: FakeEngine
    made: Path

    def checkpoint(self, name: str) -> Path:
        return Path(shutil.copytree(self.made, self.folder / name))

    def trajectory(self, name: str = f"t{WORDS}.json") -> Path:
        path = self.folder / name
        path.write_text(json.dumps({"id": WORDS, "profile": WORDS, "contents": STEPS}))
        return path

    def many(self) -> Path:
        path = self.folder / f"m{WORDS}.jsonl"
        one = {"id": WORDS, "profile": WORDS, "contents": STEPS}
        path.write_text("\n".join(map(json.dumps, [one, {**one, "id": None}])))
        return path

    def model(self) -> Path:
        """A model directory that `inspect` takes, with words wherever a manifest has free text."""
        folder = self.folder / f"model{WORDS}"
        folder.mkdir()
        prompt = {**make_prompt().to_manifest(), "name": WORDS}
        value = {**sample(), "prompt": prompt}
        value["licence"] = {"name": WORDS, "files": value["licence"]["files"]}
        value["origin"] = {**value["origin"], "source": WORDS, "revision": WORDS}
        for name in value["files"]:
            (folder / name).write_bytes(name.encode())
            digest = hashlib.sha256(name.encode()).hexdigest()
            value["files"][name] = {"sha256": digest, "bytes": len(name)}
        (folder / FILE).write_text(Manifest.from_dict(value).to_json())
        return folder

    def stdin(self, *lines: str) -> None:
        self.patch.setattr(sys, "stdin", Stdin(*lines))
