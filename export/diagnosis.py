"""Which labels a guard is exported with."""

from __future__ import annotations

from tokenizers import Tokenizer

from stepguard.prompt import Prompt, place_fields
from stepguard.prompt.answers import ANSWERS
from stepguard.taxonomy import Fields, Taxonomy, lines_of, shipped


def diagnosis_fields(
    prompt: Prompt, tokenizer: Tokenizer, taxonomy: Taxonomy | None
) -> Fields | None:
    """What a diagnosis reads; None where neither the prompt nor anybody else asks for labels.

    Raises TaxonomyError, see `place_fields`.
    """
    asked = prompt.official and ANSWERS[prompt.answer].fields
    labels = taxonomy or (shipped("base") if asked else None)
    if labels is None:
        return None
    return place_fields(prompt, tokenizer, labels, lines_of(prompt.answer))
