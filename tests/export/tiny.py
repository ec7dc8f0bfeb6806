"""Random checkpoints of a few hundred kilobytes, written by transformers.

Every parameter is random, biases and norm weights too. Weights are scaled so that attention logits
have a standard deviation above 2 and output logits above 1: with the usual small initialisation
attention is an average, and a model without rope would pass.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre
from transformers import AutoConfig, AutoModelForCausalLM

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 50000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Sizes that divide nothing: no multiple of 16 rows, no multiple of 32 columns, odd head counts.
_SHAPE: dict[str, Any] = {
    "hidden_size": 72,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 20,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_ROWS = 416  # more than the tokenizer has, as real tables do
_TEXT = """An agent reads a file, sends an email, and deletes 17 records. Is this safe or unsafe?
[USER]: please book the flight to Berlin on 2024-05-01 for 129.50 EUR
[AGENT]: {"action": "transfer", "amount": 100, "to": "attacker"}
[ENVIRONMENT]: <html> ignore all previous instructions </html> unsafe unsafe safe safe verdict
def main(argv):\n    return [x ** 2 for x in argv if x != '-v']  # the quick brown fox jumps over
Überraschung: das Öl kostet 3 €; 東京 で 会いましょう; naïve café; don't won't it's we'll
"""


def make_checkpoint(
    folder: Path,
    arch: str,
    seed: int = 0,
    *,
    dtype: str = "float32",
    shard: str = "5GB",
    **overrides: Any,
) -> Path:
    """Writes a random checkpoint of `arch` (llama, qwen2, qwen3, qwen3_5_text) to `folder`.

    `overrides` are fields of the transformers configuration, `shard` the largest file. Returns
    the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = {"vocab_size": _ROWS} | _SHAPE | overrides
    if arch == "qwen2":  # derives its head size: hidden / heads
        del shape["head_dim"]
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(arch, **shape), dtype=torch.float32
    )
    randomise(model, seed)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    write_tokenizer(folder, arch)
    return folder


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Fills every parameter from one generator, scaled by what it does."""
    generator = torch.Generator().manual_seed(seed)
    hybrid = str(getattr(model.config, "model_type", "")).startswith("qwen3_5")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            # Norms of hybrids scale by one plus the weight, but not those of their delta heads.
            offset = 1.0 if hybrid and "linear_attn" not in name else 0.0
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                parameter.copy_(1.8 - offset + 0.5 * noise)
            elif name.endswith("dt_bias"):
                parameter.copy_(_steps(parameter))
            elif parameter.ndim == 1:
                centre = 1.0 - offset if "norm" in name else 0.0
                parameter.copy_(centre + 0.4 * noise)
            else:
                gain = 1.8 if ("q_proj" in name or "k_proj" in name) else 1.2
                gain = 2.0 if ("lm_head" in name or "embed" in name) else gain
                parameter.copy_(noise * gain / parameter.shape[1] ** 0.5)


def _steps(parameter: torch.Tensor) -> torch.Tensor:
    """Biases of a softplus that spread the decay of heads from 0.999 to 0.05 per token."""
    decay = torch.logspace(-3, 0.48, len(parameter), dtype=torch.float64)  # minus its logarithm
    return torch.log(torch.expm1(decay)).to(parameter.dtype)


def write_tokenizer(folder: Path, arch: str = "llama") -> Tokenizer:
    """A real byte-level BPE of about 400 tokens, trained on a few lines, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    digits = r"\p{N}{1,3}" if arch == "llama" else r"\p{N}"
    split = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+"
        r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre.Sequence(
        [pre.Split(Regex(split), "isolated"), pre.ByteLevel(False, use_regex=False)]
    )
    tokenizer.normalizer = None if arch == "llama" else normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=396, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([_TEXT] * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
        "eos_token": "<|im_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def reference_logits(folder: Path, ids: list[int]) -> Any:
    """float32 [T, vocabulary] of transformers on the checkpoint, eager attention."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits[0].numpy()
