"""Which labels a diagnosis asks for, and in which of the modes."""

from __future__ import annotations

import pytest

from stepguard import Guard
from stepguard.diagnose import Asker
from stepguard.errors import PromptError, TaxonomyError
from stepguard.judge import fields_of
from stepguard.prompt import place_fields
from stepguard.session import Session
from stepguard.taxonomy import Dimension, Label, Taxonomy, lines_of
from tests.front.diagnosable import TAXONOMY, fields
from tests.front.diagnosis.dug import PROFILE, STEPS
from tests.front.fakes import FakeEngine, byte_tokenizer, make_guard, writing_prompt
from tests.front.manifests import sample


def test_a_subset_of_the_labels(guard: Guard, session: Session) -> None:
    wanted = [label for label in TAXONOMY.of(Dimension.RISK_SOURCE) if label.text != "page"]
    found = fields_of(guard.manifest, Taxonomy("few", tuple(wanted)))
    assert found is not None
    (field,) = found.fields
    assert set(field.paths) == {label.id for label in wanted}
    with pytest.raises(TaxonomyError, match="Export again with --taxonomy FILE"):
        own = Label(Dimension.RISK_SOURCE, "new", "new", "a gist")
        fields_of(guard.manifest, Taxonomy("own", (*wanted, own)))


def test_ids_beyond_the_model() -> None:
    value = fields().to_manifest()
    value["fields"][0]["head"][0] = 256
    with pytest.raises(TaxonomyError, match="ids below the 256 rows, got id 256"):
        make_guard(FakeEngine(), taxonomy="test", diagnosis=value)


def asked_in(mode: str | None, answer: str) -> Guard:
    """A guard on a fake engine whose answers have this form, asked in a mode."""
    prompt = writing_prompt(answer) if mode is None else writing_prompt(answer).in_mode(mode)
    tokenizer = byte_tokenizer()
    found = place_fields(prompt, tokenizer, TAXONOMY, lines_of(answer))
    asker = Asker.of(prompt, tokenizer)
    more = {"taxonomy": "test", "diagnosis": found.to_manifest()}
    shape = {**sample()["architecture"], "vocabulary": 400}  # room for the template's tokens
    return make_guard(FakeEngine(), prompt, asker=asker, architecture=shape, **more)


def test_the_question_is_that_of_the_mode_that_writes_nothing() -> None:
    shares = []
    for mode in ("forced", "rationale"):
        with asked_in(mode, "agentdog-1.5-unified").session(PROFILE, diagnose=False) as session:
            session.observe(STEPS[0])
            diagnosis = session.diagnose()
            assert (diagnosis.complete, diagnosis.order[0]) == (True, "failure_mode")
            shares.append(diagnosis.risk_source)
    assert shares[0] == shares[1]


def test_a_guard_that_gives_no_verdicts() -> None:
    guard = asked_in(None, "agentdog-1.5-finegrained")
    with guard.session(PROFILE) as session:
        session.observe(STEPS[0])
        assert session.diagnose().complete
        with pytest.raises(PromptError, match="one that only diagnoses"):
            session.judge()
