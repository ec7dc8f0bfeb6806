"""Run by the Python of an environment with optimum: small random classifiers, and their logits.

    python -I screen_checkpoints.py KIND FOLDER

Writes a checkpoint into FOLDER, and logits.json: rows of token ids and the logits that PyTorch
gives for them there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from tokenizers import pre_tokenizers as pre
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"w{n}" for n in range(96))]
LENGTH = 64
LABELS = {0: "SAFE", 1: "INJECTION", 2: "OTHER"}
KINDS: dict[str, dict[str, Any]] = {
    "bert": {"type_vocab_size": 2},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "type_vocab_size": 0,
        "position_biased_input": False,
    },
    "modernbert": {
        "local_attention": 16,
        "global_attn_every_n_layers": 2,
        "reference_compile": False,
    },
}


def main(kind: str, folder: Path) -> None:
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=LENGTH,
        pad_token_id=0,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.3,
        id2label=LABELS,
        label2id={name: index for index, name in LABELS.items()},
        **KINDS[kind],
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre.WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LENGTH,
        **{f"{name}_token": text for name, text in names.items()},
    ).save_pretrained(folder)
    rows, logits = [], []
    for length in (1, 2, 15, 16, 17, 40, LENGTH):
        ids = torch.randint(0, len(WORDS), (1, length))
        with torch.no_grad():
            out = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        rows.append(ids[0].tolist())
        logits.append(out[0].tolist())
    (folder / "logits.json").write_text(json.dumps({"ids": rows, "logits": logits}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
