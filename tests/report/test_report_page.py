"""The page: whatever the content is, it is only shown; and what is shown is what was found."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepguard import Trajectory
from stepguard.errors import TrajectoryError
from stepguard.report import Shown, check_fit, page, read_judgement
from stepguard.report.markup import shown, tag
from stepguard.report.style import DARK, LIGHT, style
from tests.report.pages import EVIL, PLANTED, Read, full, steps_with, value, verdict

TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "footer", "article",
    "header", "h1", "h2", "h3", "p", "span", "a", "ul", "li", "pre", "div", "details", "summary",
    "table", "caption", "thead", "tbody", "tr", "th", "td",
    "svg", "g", "desc", "text", "rect", "line", "path", "polyline",
}  # fmt: skip


@pytest.mark.parametrize("name", [*PLANTED, "all"])
def test_content_is_never_structure(name: str) -> None:
    """The elements and attributes of a page do not depend on the content."""
    words = EVIL if name == "all" else PLANTED[name]
    evil, plain = Read(full(words)), Read(full(" harmless"))
    assert evil.skeleton == plain.skeleton
    assert evil.open == plain.open == []
    assert evil.other == plain.other == ["DOCTYPE html"]


def test_nothing_but_known_elements() -> None:
    read = Read(full(EVIL))
    assert {name for name, _ in read.tags} <= TAGS
    for name, attributes in read.tags:
        for key, text in attributes:
            assert not key.startswith("on"), name
            assert key not in ("src", "srcset", "style", "action", "xlink:href"), name
            if key == "href":
                assert re.fullmatch(r"#step-\d+", text or "")


def test_links_lead_to_steps_that_are_there() -> None:
    read = Read(full())
    values = [dict(attributes) for _, attributes in read.tags]
    there = [attributes["id"] for attributes in values if "id" in attributes]
    assert len(there) == len(set(there))
    linked = {attributes["href"] for attributes in values if "href" in attributes}
    assert len(linked) == 4
    assert {str(link)[1:] for link in linked} <= set(there)


def test_what_could_steer_is_an_escape() -> None:
    text = full(EVIL)
    text.encode()  # no lone surrogates
    left = {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert left <= {"\n", "\t"}
    seen = "".join(Read(text).texts)
    for escape in ("\\x1b[31mred", "\\u202eevil", "\\ud800", "a\\x00b", "\\u2028", "\\U000e0041"):
        assert escape in seen
    for kept in ("<script>alert(1)</script>", "[red]x[/]", ":bomb:", "&lt;script&gt;"):
        assert kept in seen


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(codec=None), max_size=60))
def test_any_text_is_shown_and_no_more(text: str) -> None:
    read = Read(tag("p", text).text)
    assert all(name in ("p", "span") for name, _ in read.tags)
    assert read.open == []
    seen = "".join(read.texts)
    expected = "".join(
        sign
        if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in text
    )
    assert seen == expected
    shown(text).text.encode()


def test_an_attribute_cannot_be_left() -> None:
    assert tag("p", class_='a"b<').text == '<p class="a&quot;b&lt;"></p>'
    with pytest.raises(ValueError, match="printable"):
        tag("p", class_="a\nb")


def test_it_may_load_nothing() -> None:
    read = Read(full(EVIL))
    names = [name for name, _ in read.tags]
    metas = [dict(attributes) for name, attributes in read.tags if name == "meta"]
    (rules,) = [m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    assert rules is not None
    parts = [part.strip() for part in rules.split(";")]
    assert parts[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert "unsafe" not in rules
    assert f"<style>{style()}</style>" in full(EVIL)  # byte for byte what was hashed
    assert names.index("style") > 3  # behind the policy
    assert "url(" not in style()
    assert "@import" not in style()


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_contrast(colours: dict[str, str]) -> None:
    """WCAG 2.2, 1.4.3: 4.5 for text; the formula is its own."""
    for name in ("text", "quiet", "accent", "safe", "unsure", "unsafe", "unavailable"):
        for ground in ("page", "card"):
            one, two = sorted((_luminance(colours[name]), _luminance(colours[ground])))
            assert (two + 0.05) / (one + 0.05) >= 4.5, (name, ground)


def test_it_can_be_read_without_eyes() -> None:
    read = Read(full())
    assert ("html", (("lang", "en"),)) in read.tags
    for name, attributes in read.tags:
        values = dict(attributes)
        if name == "svg":
            assert values.get("aria-hidden") == "true" or values.get("aria-labelledby")
        if name == "th":
            assert values.get("scope") in ("row", "col")
    levels = [int(name[1]) for name, _ in read.tags if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    seen = "".join(read.texts)
    assert "4 verdicts: 1 safe, 1 unsure, 1 unsafe, 1 unavailable" in seen


def test_what_it_says() -> None:
    seen = " ".join("".join(Read(full()).texts).split())
    for text in (
        "unsafe It turned at step 5, verdict 3 of 4.",
        "turned unsafe at step 5",
        "Calibrated: safe below 0.350, unsafe from 0.650, unsure between.",
        "step 5: unsafe, score 0.930",
        "step 7: unavailable, no score",
        "480 tokens read in all",
        "9 more labels",
        "0.020 of what the model would write here",
        "Step 7 has no verdict (overflow): too long",
        "covers 80.0 % of the tokens",
        "Steps 2 to 3 no longer fitted",
        "read in 3 windows",
        "1 part of a step is no text",
        "Neutralised: 2 imitations",
        "It pays somebody else.",
        "May pay.",
    ):
        assert text in seen


def small(*verdicts: dict[str, object], **model: object) -> str:
    found = read_judgement(value(list(verdicts), **model), 0, "saved")
    steps = steps_with("").steps
    return " ".join("".join(Read(page(Shown("x", Trajectory("", steps), found))).texts).split())


def test_a_safe_one() -> None:
    seen = small(*(verdict(step) for step in (1, 3, 5, 7)))
    assert "safe Every verdict is safe." in seen
    assert "turned" not in seen
    assert "Nothing is unsafe, so nothing was diagnosed." in seen
    assert "All steps up to the last verdict were read whole." in seen


def test_one_that_is_only_unsure() -> None:
    seen = small(verdict(1), verdict(3, status="unsure", score=0.5))
    assert "unsure Never unsafe; the first that is not safe is step 3." in seen
    assert "After the last verdict came 4 steps" in seen


def test_an_uncalibrated_one() -> None:
    seen = small(verdict(1, status="unsafe", score=0.9), calibrated=False, low=0.5, high=0.5)
    assert "Not calibrated" in seen
    assert "scores are no probabilities" in seen
    assert "No diagnosis was made." in seen


def test_verdicts_that_were_saved_before_thresholds_were() -> None:
    saved = value([verdict(1)])
    for name in ("calibrated", "low", "high"):
        del saved["model"][name]
    found = read_judgement(saved, 0, "saved")
    seen = "".join(Read(page(Shown("x", steps_with(""), found))).texts)
    assert "The thresholds were not saved with these verdicts." in seen


def test_five_hundred_actions() -> None:
    found = read_judgement(value([verdict(1)] * 500), 0, "saved")
    read = Read(page(Shown("x", steps_with(""), found)))
    labels = [one for one in read.tags if dict(one[1]).get("text-anchor") == "middle"]
    assert 10 <= len(labels) <= 24


def test_long_content_is_cut_and_said() -> None:
    found = read_judgement(value([verdict(1)]), 0, "saved")
    seen = page(Shown("x", steps_with("y" * 5000), found, most=100))
    assert "y" * 200 not in seen
    assert re.search(r"4,\d{3} characters more are not shown", seen)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"status": "fine"}, "verdicts[0].status"),
        ({"score": 1.5}, "verdicts[0].score"),
        ({"score": float("nan")}, "verdicts[0].score"),
        ({"score": "<script>"}, "verdicts[0].score"),
        ({"step": -1}, "verdicts[0].step"),
        ({"step": "1"}, "verdicts[0].step"),
        ({"left_out": [[1]]}, "verdicts[0].left_out[0]"),
        ({"latency_ms": -1}, "verdicts[0].latency_ms"),
        ({"diagnosis": {"order": ["<b>"]}}, "verdicts[0].diagnosis"),
    ],
)
def test_saved_verdicts_that_are_none(change: dict[str, object], place: str) -> None:
    with pytest.raises(TrajectoryError) as caught:
        read_judgement(value([verdict(1, **change)]), 0, "saved.json")
    assert caught.value.where == f"saved.json: trajectories[0].{place}" + (
        ".risk_source" if "diagnosis" in change else ""
    )


@pytest.mark.parametrize(
    "saved", [None, 3, {}, {"trajectories": []}, {"trajectories": [3]}, {"trajectories": [{}]},
              {"trajectories": [{"verdicts": []}]}, {"trajectories": [{"verdicts": [3]}]},
              {**value([verdict(1)]), "model": None}]
)  # fmt: skip
def test_what_moderate_never_printed(saved: object) -> None:
    with pytest.raises(TrajectoryError, match=r"saved\.json"):
        read_judgement(saved, 0, "saved.json")


def test_verdicts_of_another_trajectory() -> None:
    found = read_judgement(value([verdict(1), verdict(4)]), 0, "saved")
    with pytest.raises(TrajectoryError, match=r"steps 1, 3, 5, 7 of the trajectory, got 1, 4"):
        check_fit(found.verdicts, steps_with(""), "saved")
