"""A prompt in the manifest is the same when it is read back; damage names its entry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prompt_cases import NAMES, OFFICIAL_NAMES, built, prompt

from stepguard.errors import PromptError
from stepguard.prompt import Prompt
from stepguard.prompt.build import SHORT_TEMPLATE

MODE, AT = ["modes", "first_token"], "prompt.modes.first_token"


@pytest.mark.parametrize("template", ["short", *OFFICIAL_NAMES])
@pytest.mark.parametrize("name", NAMES)
def test_manifest_round_trip(name: str, template: str) -> None:
    own = prompt(name, template)
    assert Prompt.from_manifest(json.loads(json.dumps(own.to_manifest()))) == own


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (["mode"], "forced", "prompt.mode"),
        (["answer"], "essay", "prompt.answer"),
        (["modes"], {}, "prompt.modes"),
        (["modes", "telepathy"], {}, "prompt.modes (a key)"),
        (["modes", "first_token", "thinking"], 0, "prompt.modes.first_token.thinking"),
        (["modes", "first_token", "limit"], 4, "prompt.modes.first_token.limit"),
        (["modes", "first_token", "begun"], None, "prompt.modes.first_token.begun"),
        (["modes", "rationale", "limit"], 0, "prompt.modes.rationale.limit"),
        (["modes", "rationale", "limit"], True, "prompt.modes.rationale.limit"),
        (["modes", "rationale", "stop"], [], "prompt.modes.rationale.stop"),
        (["modes", "rationale", "labels"], {}, "prompt.modes.rationale.labels"),
        (["modes", "rationale", "special"], {"<think>": -1}, "prompt.modes.rationale.special"),
        (["modes", "rationale", "special"], [3], "prompt.modes.rationale.special"),
        (["modes", "rationale", "question", 0], {"text": "other"}, "prompt.modes"),
        (["modes", "rationale", "question", 1], {"profile": True}, "prompt.modes"),
        (["official"], 1, "prompt.official"),
        (["further"], 1, "prompt:"),
        (["prefix", 0], {"text": "", "ids": []}, "prompt.prefix[0]"),
        ([*MODE, "question", 1], {"id": 4}, f"{AT}.question[1]"),
        ([*MODE, "question", 1], {"profile": 1}, f"{AT}.question[1]"),
        ([*MODE, "question", 1, "ids"], [-1], f"{AT}.question[1].ids"),
        ([*MODE, "question", 1, "ids"], [True], f"{AT}.question[1].ids"),
        ([*MODE, "question"], "text", f"{AT}.question"),
        ([*MODE, "labels"], {"safe": []}, f"{AT}.labels"),
        ([*MODE, "labels", "safe"], [], f"{AT}.labels.safe"),
        ([*MODE, "labels", "safe", 0, "path"], [], f"{AT}.labels.safe[0].path"),
        ([*MODE, "labels", "safe", 0], {"text": 1, "path": [1]}, f"{AT}.labels.safe[0]"),
        (["form", "gap"], None, "prompt.form.gap"),
        (["delimiters", "keys"], "USER", "prompt.delimiters.keys"),
    ],
)
def test_a_damaged_manifest_names_the_entry(path: list[Any], value: Any, where: str) -> None:
    own = built(SHORT_TEMPLATE, rationale=True)
    data: Any = json.loads(json.dumps(own.to_manifest()))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(PromptError) as caught:
        Prompt.from_manifest(data)
    assert str(caught.value).startswith(where)


def test_labels_must_differ_in_their_first_id() -> None:
    data: Any = prompt("smollm2").to_manifest()
    labels = data["modes"]["first_token"]["labels"]
    labels["safe"][0]["path"] = labels["unsafe"][0]["path"]
    with pytest.raises(PromptError, match=r"^prompt\.modes\.first_token\.labels"):
        Prompt.from_manifest(data)


def test_a_missing_entry_is_named() -> None:
    data = prompt("smollm2").to_manifest()
    del data["sha256"]
    with pytest.raises(PromptError, match="expected the keys name, official, sha256"):
        Prompt.from_manifest(data)
