"""A prompt file as `--prompt` takes it, made into the prompt of a model directory."""

from __future__ import annotations

import json
from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from stepguard.errors import PromptError
from stepguard.prompt import Prompt, build_prompt, load_tokenizer
from stepguard.prompt.build import SHORT_TEMPLATE
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.target import Target

_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
_PLAIN_CHAT = "{% for m in messages %}USER: {{ m.content | trim }}\n{% endfor %}ASSISTANT:"
_CUSTOM = """Look at what the agent did.
<BEGIN LOG>
=== Trajectory ===
{trajectory}
<END LOG>
[NOTE]: Überall, also in tools.
Answer safe or unsafe:"""
_WORDS = (
    b"{trajectory}",
    b"{taxonomy}",
    b"<|im_end|>",
    b"<LOG>",
    b"=== X ===",
    b"[USER]:",
    b"short",
)
_WORDS += (
    b"\xe2\x80\x8b",
    b"\xcc\x88",
    b"\r\n",
    b"<\xef\xbd\x9cend\xef\xbd\x9c>",
    b"{% raw %}",
    b"{{",
)


@cache
def _tokenizer() -> Tokenizer:
    """A byte-level BPE of some hundred tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([SHORT_TEMPLATE, _CUSTOM, "safe unsafe Safe Unsafe"], trainer)
    return load_tokenizer(json.dumps({**json.loads(tokenizer.to_str()), "added_tokens": []}))


def built(template: str, chat: str = _CHAT) -> Prompt:
    """The prompt of a template text in a small tokenizer and one of two chat templates."""
    return build_prompt(template, chat, {"<|im_start|>": 500, "<|im_end|>": 501}, _tokenizer())


def run(data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:  # what the exporter refuses before it comes here
        return
    for chat in (_CHAT, _PLAIN_CHAT):
        prompt = built(text, chat)
        assert Prompt.from_manifest(prompt.to_manifest()) == prompt
        assert prompt.row_ids


def seeds() -> list[bytes]:
    return [text.encode() for text in (SHORT_TEMPLATE, _CUSTOM, _CUSTOM.replace("\n", "\r\n"))]


TARGET = Target(
    "prompt",
    run,
    seeds,
    (PromptError,),
    lambda data, random: mutate_bytes(data, random, _WORDS),
    _WORDS,
)
