"""How a checkpoint is asked, before anything of it is exported: prompt, tokenizer and labels."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from stepguard.errors import ModelFormatError
from stepguard.prompt import Prompt, load_tokenizer
from stepguard.taxonomy import Fields, Taxonomy

from .asking import Asking, prompt_of
from .checkpoint import Checkpoint
from .diagnosis import diagnosis_fields
from .gguf_tokenizer import tokenizer_of_gguf
from .hf_tokenizer import tokenizer_of_folder
from .shape import Shape, shape_of_config, shape_of_gguf


@dataclass(frozen=True)
class Asked:
    """text: of tokenizer.json, of which `tokenizer` is made. fields: None without labels."""

    text: str
    tokenizer: Tokenizer
    prompt: Prompt
    fields: Fields | None


def asked_of(
    checkpoint: Checkpoint,
    vocabulary: int,
    template: str,
    labels: Taxonomy | None,
    asking: Asking,
) -> Asked:
    """What an export of the checkpoint writes of prompt and labels.

    template: what `template_text` gives; labels: what `labels_of` gives. Raises PromptError,
    TokenizerError, TaxonomyError.
    """
    if checkpoint.form == "gguf":
        parts = tokenizer_of_gguf(checkpoint.config, vocabulary)
    else:
        parts = tokenizer_of_folder(checkpoint.folder, vocabulary)
    tokenizer = load_tokenizer(parts.text)
    prompt = prompt_of(template, parts, tokenizer, asking)
    return Asked(parts.text, tokenizer, prompt, diagnosis_fields(prompt, tokenizer, labels))


def shape_of(checkpoint: Checkpoint) -> Shape:
    """The numbers of a text-only checkpoint. Raises ExportError, ModelFormatError."""
    tensors = checkpoint.store.tensors
    if checkpoint.form == "safetensors":
        return shape_of_config(checkpoint.config, "lm_head.weight" in tensors)
    table = tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise ModelFormatError(
            f"tensor token_embd.weight in {checkpoint.path.name}", expected="a matrix", got="none"
        )
    return shape_of_gguf(checkpoint.config, frozenset(tensors), table.shape[0])
