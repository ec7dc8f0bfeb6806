"""Chat templates: what they are given, what becomes of their special tokens, what is refused."""

from __future__ import annotations

import pytest
import tokenizers_for_test as made
from prompt_cases import BINARY, built, official_text, prompt

from stepguard.errors import PromptError
from stepguard.prompt import build_prompt
from stepguard.prompt.chat import render_chat
from stepguard.prompt.pieces import Piece, split_special


def test_a_chat_without_special_tokens() -> None:
    chat = "{% for m in messages %}USER: {{ m.content }}\nASSISTANT:{% endfor %}"
    own = built("Judge this:\n{trajectory}\nIs it safe or unsafe?", chat)
    assert {"USER:", "ASSISTANT:"} <= set(own.delimiters.texts)
    assert [s.text for s in own.labels["unsafe"]] == ["unsafe", "Unsafe"]


def test_special_tokens_become_ids_longest_first() -> None:
    pieces = split_special("a<s><s>>b", {"<s>": 1, "<s>>": 2})
    assert pieces == (Piece("a"), Piece("<s>", (1,)), Piece("<s>>", (2,)), Piece("b"))
    assert split_special("", {}) == ()


def test_template_tags_that_are_special_tokens_are_delimiters() -> None:
    own = build_prompt("short", made.CHATML, made.special_tokens("qwen25"), made.qwen25())
    assert own.question[-1] == Piece("\n\n")
    assert {"<think>", "</think>"} <= set(own.delimiters.texts)


def test_the_date_is_pinned_and_the_message_trimmed() -> None:
    own = prompt("llama", BINARY)
    assert any("Today Date: 26 Jul 2024 26 Jul 2024" in piece.text for piece in own.prefix)
    assert own.after_steps == official_text().split("{trajectory}")[1].rstrip()


def test_thinking_is_off_and_no_system_message_is_given() -> None:
    assert not render_chat(made.CHATML, "hi", {}, thinking=True).endswith("</think>\n\n")
    text = render_chat(made.CHATML, "hi", {})
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("chat", "got"),
    [
        ("", "got none"),
        ("{{ bos_token }}{{ messages[0].content }}", "bos_token"),
        ("{{ raise_exception('no lone user') }}", "no lone user"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("nothing", "got 0 times"),
        ("{{ messages[0].content * 2 }}", "got 2 times"),
    ],
)
def test_chat_templates_that_cannot_be_used(chat: str, got: str) -> None:
    with pytest.raises(PromptError) as caught:
        built("short", chat)
    assert got in str(caught.value)


def test_what_chat_templates_are_given() -> None:
    chat = (
        "{{ bos_token }}{{ unknown }}{% if tools %}x{% endif %}{{ strftime_now('%A %d %B') }}"
        "{% generation %}{{ messages | tojson }}{% endgeneration %}{% for m in messages %}"
        "{% break %}{% endfor %}"
    )
    text = render_chat(chat, "é", {"bos_token": "<s>"})
    assert text == '<s>Friday 26 July[{"role": "user", "content": "é"}]'


def test_content_that_could_become_a_special_token_is_refused() -> None:
    with pytest.raises(PromptError, match="tokens that text cannot become"):
        build_prompt(
            "short", made.CHATML, {"word": made.smollm2().encode("word").ids[0]}, made.smollm2()
        )
