"""The shapes of the guards that stepguard is made for, as their published configurations say them.

| shape          | guards                                        |
|----------------|-----------------------------------------------|
| qwen3.5-0.8b   | AgentDoG 1.5                                  |
| qwen3.5-2b     | AgentDoG 1.5                                  |
| qwen3.5-4b     | AgentDoG 1.5, the unified one too             |
| qwen3.5-9b     | headroom                                      |
| qwen3-4b       | AgentDoG 1.0                                  |
| qwen3-8b       |                                               |
| qwen2.5-7b     | AgentDoG 1.0                                  |
| llama3.1-8b    | AgentDoG 1.0 and 1.5                          |
| smollm2-135m   | the default base model, to try the road with  |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepguard.bench.shapes.vocabulary import Vocabulary, llama3, qwen2, qwen3, qwen35, smollm2
from stepguard.errors import StepguardError
from stepguard.export.shape import Shape, shape_of_config

Config = dict[str, Any]


@dataclass(frozen=True)
class GuardShape:
    """One shape: `config` is the config.json of a checkpoint of it.

    `vocabulary` makes the tokenizer; it raises what `stepguard.bench.shapes.vocabulary` raises.
    """

    name: str
    config: Mapping[str, Any]
    vocabulary: Callable[[], Vocabulary]

    @property
    def sees(self) -> bool:
        """True for the layout of a vision-language model, whose text tower alone is a guard."""
        return "text_config" in self.config

    @property
    def text(self) -> Config:
        """The configuration of a text-only checkpoint of the same numbers."""
        if not self.sees:
            return dict(self.config)
        return {**self.config["text_config"], "architectures": ["Qwen3_5ForCausalLM"]}

    @property
    def shape(self) -> Shape:
        """The numbers as the exporter reads them."""
        return shape_of_config(self.text, not self.text["tie_word_embeddings"])

    def reduced(self, name: str, **fields: Any) -> GuardShape:
        """The same layout with other numbers: `fields` of the text's configuration."""
        config: Config = {**self.config}
        if self.sees:
            config["text_config"] = {**config["text_config"], **fields}
        else:
            config |= fields
        return dataclasses.replace(self, name=name, config=config)


def find_shape(name: str, option: str = "--shape") -> GuardShape:
    """The shape of that name, which an option gave; StepguardError that lists the known ones."""
    if name not in GUARDS:
        raise StepguardError(option, expected=f"one of {', '.join(GUARDS)}", got=repr(name))
    return GUARDS[name]


def _dense(
    kind: str,
    layers: int,
    hidden: int,
    mlp: int,
    heads: tuple[int, int, int],
    rows: int,
    **more: Any,
) -> Config:
    """config.json of a dense model; `heads` are (query heads, key heads, their size)."""
    names = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    return {
        "architectures": [f"{names[kind]}ForCausalLM"],
        "model_type": kind,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        **({} if kind == "qwen2" else {"head_dim": heads[2]}),  # qwen2: hidden / heads
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "vocab_size": rows,
        **more,
    }


def _hybrid(
    layers: int, hidden: int, mlp: int, heads: tuple[int, int], v_heads: int, tied: bool
) -> Config:
    """config.json of Qwen3.5, a vision-language model; `heads` are (query heads, key heads)."""
    text: Config = {
        "model_type": "qwen3_5_text",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "head_dim": 256,
        "attention_bias": False,
        "attn_output_gate": True,
        "full_attention_interval": 4,
        "layer_types": [
            "linear_attention" if (layer + 1) % 4 else "full_attention" for layer in range(layers)
        ],
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": v_heads,
        "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000000.0,
            "partial_rotary_factor": 0.25,
            "mrope_interleaved": True,
            "mrope_section": [11, 11, 10],
        },
        "tie_word_embeddings": tied,
        "vocab_size": 248320,
    }
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "image_token_id": 248056,
        "video_token_id": 248057,
        "vision_start_token_id": 248053,
        "vision_end_token_id": 248054,
        "tie_word_embeddings": tied,
        "text_config": text,
        # A token of the tower that a guard drops: one block of a few columns.
        "vision_config": {
            "model_type": "qwen3_5_vision",
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": hidden,
        },
    }


_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

GUARDS = {
    shape.name: shape
    for shape in (
        GuardShape("qwen3.5-0.8b", _hybrid(24, 1024, 3584, (8, 2), 16, True), qwen35),
        GuardShape("qwen3.5-2b", _hybrid(24, 2048, 6144, (8, 2), 16, True), qwen35),
        GuardShape("qwen3.5-4b", _hybrid(32, 2560, 9216, (16, 4), 32, True), qwen35),
        GuardShape("qwen3.5-9b", _hybrid(32, 4096, 12288, (16, 4), 32, False), qwen35),
        GuardShape(
            "qwen3-4b",
            _dense(
                "qwen3", 36, 2560, 9728, (32, 8, 128), 151936,
                tie_word_embeddings=True, max_position_embeddings=40960, attention_bias=False,
            ),
            qwen3,
        ),
        GuardShape(
            "qwen3-8b",
            _dense(
                "qwen3", 36, 4096, 12288, (32, 8, 128), 151936,
                max_position_embeddings=40960, attention_bias=False,
            ),
            qwen3,
        ),
        GuardShape(
            "qwen2.5-7b",
            _dense("qwen2", 28, 3584, 18944, (28, 4, 128), 152064, max_position_embeddings=32768),
            qwen2,
        ),
        GuardShape(
            "llama3.1-8b",
            _dense(
                "llama", 32, 4096, 14336, (32, 8, 128), 128256,
                max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0,
                rope_scaling=_LLAMA3_ROPE, attention_bias=False, mlp_bias=False,
            ),
            llama3,
        ),
        GuardShape(
            "smollm2-135m",
            _dense(
                "llama", 30, 576, 1536, (9, 3, 64), 49152,
                tie_word_embeddings=True, max_position_embeddings=8192, rms_norm_eps=1e-5,
                rope_theta=100000.0, attention_bias=False, mlp_bias=False,
            ),
            smollm2,
        ),
    )
}  # fmt: skip
