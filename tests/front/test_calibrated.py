"""A calibration makes scores probabilities, for the one way of asking that it was made for."""

from __future__ import annotations

import json
from dataclasses import replace

from stepguard import Status
from stepguard.prompt import Prompt
from stepguard.prompt.forms import AGENTDOG_1_0
from tests.front.fakes import FakeEngine, calibrated, make_guard, writing_prompt
from tests.front.manifests import sample
from tests.front.played import STEPS


def test_calibrated_verdicts() -> None:
    plain = make_guard(FakeEngine())
    settings = {"model": plain.manifest.sha256, "prompt": plain.prompt.asked, "kv": "fp32"}
    settings |= {"activations": "fp32", "scale": 1e-6, "bias": 0.0, "knots": []}
    entry = {**sample()["calibration"][0], **settings}
    guard = make_guard(FakeEngine(), calibration=[entry])
    with guard.session() as session:
        verdict = session.push(STEPS[0])
    assert verdict.status is Status.UNSURE
    assert verdict.calibrated
    assert guard.trained
    other = {"kv": "fp16", "activations": "int8", "mode": "head", "model": "a" * 64}
    for name, value in {**other, "prompt": "b" * 64}.items():
        with make_guard(FakeEngine(), calibration=[{**entry, name: value}]).session() as session:
            assert not session.push(STEPS[0]).calibrated, name


def test_a_calibration_is_for_one_way_of_asking() -> None:
    """One text in another chat, with thoughts or with other labels has other margins."""
    prompt = writing_prompt("word")
    entries = calibrated(prompt, prompt.mode, 1.0, 0.0)
    assert make_guard(FakeEngine(), prompt, calibration=entries).calibrated
    mode, (name, *_) = prompt.modes[prompt.mode], prompt.labels
    fewer = {**mode.labels, name: mode.labels[name][:1]}
    prefix = (*prompt.prefix[:-1], replace(prompt.prefix[-1], text=prompt.prefix[-1].text + "!"))
    others = [
        writing_prompt("word", thinking=True),
        replace(prompt, modes={**prompt.modes, prompt.mode: replace(mode, labels=fewer)}),
        replace(prompt, prefix=prefix),
        replace(prompt, form=AGENTDOG_1_0),
    ]
    for other in others:
        assert other.id == prompt.id
        assert not make_guard(FakeEngine(), other, calibration=entries).calibrated
    read = Prompt.from_manifest(json.loads(json.dumps(prompt.to_manifest())))
    assert read.asked == prompt.asked
