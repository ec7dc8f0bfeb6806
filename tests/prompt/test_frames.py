"""Where a verdict is read behind a frame, and which spellings count, in real vocabularies.

Qwen's and SmolLM2's tokens are written out by hand: a frame has no fixed last token.
"""

from __future__ import annotations

import pytest
import tokenizers_for_test as made
from prompt_cases import BINARY, COARSE, FINE, UNIFIED, official_text, prompt

from stepguard.errors import PromptError
from stepguard.prompt import Prompt, build_prompt

VOCABULARIES = ["smollm2", "qwen25", "qwen35"]
# A Qwen3.5 chat: thoughts are opened where they are on, and closed at once where they are off.
OPENING_CHAT = made.CHATML.replace(
    "{%- if enable_thinking is defined and enable_thinking is false %}",
    "{%- if enable_thinking is true %}{{ '<think>\n' }}{%- else %}",
)


def asked(own: Prompt, name: str, mode: str | None = None) -> list[str]:
    """The texts of the question's ids behind the last token that ends or begins a turn."""
    pieces = own.modes[mode or own.mode].question
    tokenizer = made.TOKENIZERS[name]()
    texts: list[str] = []
    for piece in pieces:
        if piece.ids and piece.text.startswith("<"):
            texts.append(piece.text)
        else:
            ids = piece.ids or tokenizer.encode(piece.text).ids
            texts += [tokenizer.decode([i]) for i in ids]
    return texts


def spellings(own: Prompt, name: str) -> dict[str, list[list[str]]]:
    tokenizer = made.TOKENIZERS[name]()
    return {
        label: [[tokenizer.decode([i]) for i in spelling.path] for spelling in group]
        for label, group in own.labels.items()
    }


@pytest.mark.parametrize("name", VOCABULARIES)
def test_coarse_is_read_behind_the_tag(name: str) -> None:
    own = prompt(name, COARSE)
    assert asked(own, name)[-4:] == ["<", "Jud", "gment", ">"]
    # With and without a space inside; what SmolLM2 writes in two tokens is read at the first.
    split = name == "smollm2"
    assert spellings(own, name) == {
        "safe": [[" safe"], ["safe"], [" Safe"], ["Safe"]],
        "unsafe": [
            [" unsafe"],
            ["uns", "afe"] if split else ["unsafe"],
            [" Un", "safe"] if split else [" Unsafe"],
            ["Un", "safe"] if split else ["Unsafe"],
        ],
    }
    assert len(own.modes["forced"].row_ids) == 8


@pytest.mark.parametrize("name", VOCABULARIES)
def test_unified_is_read_behind_an_empty_block_of_thoughts(name: str) -> None:
    own = prompt(name, UNIFIED)
    tail = asked(own, name)
    assert tail[-2:] == ["Safety", ":"]
    # The two vocabularies with thoughts have tokens for them, and the blank lines as one.
    block = ["<think>", "\n\n", "</think>", "\n\n"]
    if name != "smollm2":
        assert tail[-6:-2] == block
    else:
        assert "".join(tail).endswith("assistant\n<think>\n\n</think>\n\nSafety:")
    # A colon and `s` are one token in Qwen's vocabularies: without its space the word begins
    # elsewhere, and does not count.
    split = name == "smollm2"
    assert spellings(own, name) == {
        "safe": [[" safe"], [" Safe"]],
        "unsafe": [[" unsafe"], [" Un", "safe"] if split else [" Unsafe"]],
    }


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize("template", [BINARY, FINE])
def test_1_0_is_read_at_the_first_token(name: str, template: str) -> None:
    own = prompt(name, template)
    assert own.mode == "first_token"
    assert spellings(own, name)["safe"] == [["safe"], ["Safe"]]
    assert asked(own, name)[-1].strip("\n") in ("", "assistant")


def built(template: str, chat: str, **options: object) -> Prompt:
    special = made.special_tokens("qwen35")
    text = official_text(template)
    return build_prompt(text, chat, special, made.qwen35(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("chat", [made.CHATML, OPENING_CHAT], ids=["qwen3", "qwen3.5"])
@pytest.mark.parametrize("thinking", [None, True, False])
def test_forced_closes_what_the_chat_opened(chat: str, thinking: bool | None) -> None:
    """Whatever the template does, the verdict of a unified guard follows one empty block."""
    own = built(UNIFIED, chat, thinking=thinking)
    text = "".join(asked(own, "qwen35"))
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nSafety:")
    coarse = "".join(asked(built(COARSE, chat, thinking=thinking), "qwen35"))
    thoughts = "" if chat == made.CHATML and thinking else "<think>\n\n</think>\n\n"
    assert coarse.endswith(f"<|im_start|>assistant\n{thoughts}<Judgment>")


@pytest.mark.parametrize(
    ("template", "thinking", "on", "begun"),
    [
        (UNIFIED, None, True, "<think>\n"),
        (UNIFIED, False, False, "<think>\n\n</think>\n\n"),
        (COARSE, None, False, "<think>\n\n</think>\n\n"),
        (COARSE, True, True, "<think>\n"),
    ],
)
def test_thinking_is_written_down(
    template: str, thinking: bool | None, on: bool, begun: str
) -> None:
    own = built(template, OPENING_CHAT, thinking=thinking)
    written = own.modes["rationale"]
    assert (written.thinking, written.begun) == (on, begun)
    assert "".join(asked(own, "qwen35", "rationale")).endswith(f"assistant\n{begun}")
    assert own.modes["forced"].thinking is bool(thinking)
    assert written.stop == (248044, 248046)
    assert written.special == {"<think>": 248068, "</think>": 248069}
    assert own.to_manifest()["modes"]["rationale"]["thinking"] is on  # type: ignore[index]


def test_modes_can_be_chosen() -> None:
    own = built(COARSE, made.CHATML, mode="rationale")
    assert (own.mode, own.in_mode("forced").mode) == ("rationale", "forced")
    with pytest.raises(PromptError, match="one of forced, rationale, got 'first_token'"):
        own.in_mode("first_token")
    with pytest.raises(PromptError, match="one of forced, got 'rationale'"):
        built(COARSE, made.CHATML, mode="rationale", rationale=False)


def test_a_prompt_that_is_no_official_one_names_its_answers() -> None:
    text = "Judge:\n<LOG>\n{formatted_trajectory}\n</LOG>"
    chat, special, tokenizer = made.CHATML, made.special_tokens("qwen35"), made.qwen35()
    own = build_prompt(text, chat, special, tokenizer, answer="agentdog-1.5-finegrained")
    assert (own.mode, own.gives_verdicts, own.labels) == ("diagnosis", False, {})
    assert own.row_ids == ()
    assert own.form.name == "agentdog-1.5"
    with pytest.raises(PromptError, match="answer: expected one of word"):
        build_prompt(text, chat, special, tokenizer, answer="essay")
    with pytest.raises(PromptError, match=r"agentdog-1\.5-coarse, as v1\.5/coarse"):
        built(COARSE, made.CHATML, answer="word")
