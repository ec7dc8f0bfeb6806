"""A screen: windows that cover everything, verdicts that hide nothing, and one library for all."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from stepguard import Screen
from stepguard.errors import ModelFormatError, ModelTamperedError, TokenizerError
from stepguard.runtime import Classifier, find_onnxruntime
from stepguard.spans import spans
from stepguard.taxonomy import Reason, Status
from tests.front.small_screen import ATTACK, WORDS, graph, logit_table, make_screen, slow_down

ROOM, OVERLAP = 8, 3  # of the small screen: 10 tokens, two of them special


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_screen(tmp_path_factory.mktemp("screen") / "words")


@pytest.fixture(scope="module")
def screen(folder: Path) -> Screen:
    return Screen.load(folder)


@given(
    count=st.integers(0, 500), size=st.integers(1, 60), share=st.floats(0, 0.99), full=st.booleans()
)
def test_windows_cover_everything(count: int, size: int, share: float, full: bool) -> None:
    overlap = int(size * share)
    found = list(spans(count, size, overlap, full=full))
    assert sorted({i for a, b in found for i in range(a, b)}) == list(range(count))
    assert all(0 < b - a <= size for a, b in found)
    for (a, b), (c, d) in pairwise(found):
        assert a < c <= b - overlap
        assert d > b
    if full:
        assert all(b - a == min(size, count) for a, b in found)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "calm", "zz", "[SEP]"]), max_size=60), st.integers(0, 60)
)
def test_one_word_is_seen_wherever_it_stands(screen: Screen, words: list[str], at: int) -> None:
    calm = screen.check(" ".join(words))
    assert calm.status is Status.SAFE
    seen = screen.check(" ".join([*words[:at], "attack", *words[at:]]))
    assert (seen.status, seen.margin) == (Status.UNSURE, ATTACK)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(WORDS[4:]), min_size=1, max_size=60))
def test_every_token_is_in_a_window(screen: Screen, words: list[str]) -> None:
    windows = list(screen.windows(" ".join(words)))
    ids = [WORDS.index(word) for word in words]
    found = list(spans(len(ids), ROOM, OVERLAP, full=True))
    assert [list(window.ids) for window in windows] == [[0, *ids[a:b], 1] for a, b in found]


def test_slices_of_a_giant_text_lose_nothing(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepguard.screen._SLICE", 64)
    monkeypatch.setattr("stepguard.screen._SLICE_OVERLAP", 16)
    for at in range(0, 200, 7):
        words = ["a"] * 200
        words[at] = "attack"
        verdict = screen.check(" ".join(words))
        assert (verdict.status, verdict.margin) == (Status.UNSURE, ATTACK), at
        assert verdict.coverage > 0.99  # a word that a slice cuts is unknown there, whole elsewhere


def test_the_margin_is_the_largest_and_the_verdict_says_how_it_was_read(screen: Screen) -> None:
    verdict = screen.check("a " * 30 + "attack " + "b " * 30)
    assert verdict.mode == "screen"
    assert verdict.guard.model == screen.manifest.sha256
    assert verdict.windows == len(list(spans(61, ROOM, OVERLAP, full=True)))
    assert verdict.score == pytest.approx(1 / (1 + np.exp(-ATTACK)))
    assert not verdict.allowed


def test_words_that_the_tokenizer_does_not_know_lower_the_coverage(screen: Screen) -> None:
    assert screen.check("a zz b yy").coverage == 0.5


def test_content_makes_no_special_token(screen: Screen) -> None:
    (window,) = screen.windows("[CLS] a [SEP] [PAD]")
    assert list(window.ids) == [0, 2, WORDS.index("a"), 2, 2, 1]


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_holds_nothing(screen: Screen, text: str) -> None:
    verdict = screen.check(text)
    assert (verdict.status, verdict.windows, verdict.margin) == (Status.SAFE, 0, None)


@pytest.mark.parametrize(
    ("text", "reason"), [("a nan b", Reason.NUMERIC), ("a \ud800", Reason.MALFORMED)]
)
def test_what_cannot_be_read_has_a_reason(screen: Screen, text: str, reason: Reason) -> None:
    verdict = screen.check(text)
    assert (verdict.status, verdict.reason) == (Status.UNAVAILABLE, reason)
    assert verdict.message


def test_a_number_that_is_none_hides_no_text_behind_it(screen: Screen) -> None:
    assert not screen.check("nan " + "a " * 30 + "attack").allowed


def test_time_that_runs_out_is_a_reason_and_what_was_read_is_kept(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, screen, 0.002)
    text = "a " * 400 + "attack"
    scan = screen.scan(text)
    runs = 0
    while not scan.run(time.monotonic() + 0.05):
        late = scan.verdict(None)
        assert late.reason is Reason.DEADLINE
        assert 0 <= late.coverage < 1
        runs += 1
    assert runs > 0
    assert scan.verdict(None).windows == screen.check(text).windows
    assert scan.verdict(None).status is Status.UNSURE


def test_the_same_bits_whoever_else_asks(screen: Screen) -> None:
    texts = ["a " * n + "b" for n in range(40)]
    alone = [screen.check(text).margin for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert [v.margin for v in pool.map(screen.check, texts)] == alone


def test_a_closed_screen_says_so(folder: Path) -> None:
    with Screen.load(folder) as screen:
        assert screen.check("a").allowed
    verdict = screen.check("a")
    assert (verdict.status, verdict.reason) == (Status.UNAVAILABLE, Reason.CLOSING)


def test_what_is_no_text_is_refused(screen: Screen) -> None:
    with pytest.raises(TypeError, match="expected a string, got bytes"):
        screen.check(b"a")  # type: ignore[arg-type]


def test_token_types_are_given_where_the_graph_asks(tmp_path: Path) -> None:
    made = graph(logit_table(), types=True)
    assert Screen.load(make_screen(tmp_path / "s", model=made)).check("attack").margin == ATTACK


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"kind": TensorProto.INT32}, r"attention_mask type 6 of rank 2"),
        ({"output": "scores"}, "scores float32 of rank 2"),
        ({"flat": True}, "logits float32 of rank 1"),
    ],
)
def test_other_inputs_and_outputs_are_refused(tmp_path: Path, options: dict, got: str) -> None:  # type: ignore[type-arg]
    made = graph(logit_table(), **options)
    with pytest.raises(ModelFormatError, match=got):
        Screen.load(make_screen(tmp_path / "s", model=made))


def test_another_number_of_labels_is_refused(tmp_path: Path) -> None:
    folder = make_screen(tmp_path / "s", labels=["SAFE", "INJECTION", "OTHER"])
    with pytest.raises(ModelFormatError, match="expected 3 finite logits a window, got 2 logits"):
        Screen.load(folder)


def test_logits_that_are_never_numbers_are_refused(tmp_path: Path) -> None:
    made = graph(np.full((len(WORDS), 2), np.nan, np.float32))
    with pytest.raises(ModelFormatError, match="expected 2 finite logits"):
        Screen.load(make_screen(tmp_path / "s", model=made))


def test_ids_beyond_the_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="ids below the vocabulary's 5, got id 10"):
        Screen.load(make_screen(tmp_path / "s", vocabulary=5))


def test_a_graph_that_refuses_at_a_text_is_internal(tmp_path: Path) -> None:
    # The manifest promises more rows than the graph's table has.
    made = graph(logit_table()[:4])
    verdict = Screen.load(make_screen(tmp_path / "s", model=made)).check("attack")
    assert (verdict.reason, verdict.allowed) == (Reason.INTERNAL, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "stepguard-model"}, "format: expected 'stepguard-screen'"),
        ({"format_version": 2}, "made by a newer stepguard"),
        ({"labels": ["A", "A"]}, "labels: expected at least two labels"),
        ({"flagged": ["SAFE", "INJECTION"]}, "flagged: expected some of the labels, not all"),
        ({"flagged": ["no"]}, "flagged: expected some of the labels"),
        ({"overlap": 8}, "overlap: expected fewer than the 8 tokens"),
        ({"threshold": 1.5}, "threshold: expected a number from 0 to 1"),
        ({"begin": [99]}, "begin, end: expected ids below"),
        ({"files": {}}, "files.model.onnx: expected an entry"),
        ({"surplus": 1}, "surplus: expected no such field"),
    ],
)
def test_manifests_that_do_not_fit(tmp_path: Path, changes: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ModelFormatError, match=re.escape(message)):
        Screen.load(make_screen(tmp_path / "s", **changes))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    folder = make_screen(tmp_path / "s")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelTamperedError, match=name):
        Screen.load(folder)


def test_a_folder_without_a_screen(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="Give the folder that `stepguard screen export`"):
        Screen.load(tmp_path)


def test_the_manifest_comes_back(folder: Path, screen: Screen) -> None:
    assert screen.manifest.to_dict() == json.loads((folder / "manifest.json").read_text())
    assert json.loads(screen.manifest.to_json()) == screen.manifest.to_dict()


@pytest.mark.parametrize(
    ("ids", "mask"),
    [((2,), (2,)), ((1, 2), (2, 1)), ((0, 2), (0, 2)), ((1, 0), (1, 0)), ((1, 2, 3), (1, 2, 3))],
)
def test_arrays_of_other_shapes_are_refused(
    folder: Path, ids: tuple[int, ...], mask: tuple[int, ...]
) -> None:
    core = Classifier(folder / "model.onnx")._core
    with pytest.raises(ValueError, match="two int64 arrays of one shape"):
        core.run(np.zeros(ids, np.int64), np.zeros(mask, np.int64))


def test_rows_of_a_batch_are_those_of_one(folder: Path) -> None:
    ids = np.array([[0, 4, 1], [0, 7, 1]], np.int64)
    classifier = Classifier(folder / "model.onnx", threads=2)
    both = classifier.run(ids)
    assert both.shape == (2, 2)
    assert (both == np.concatenate([classifier.run(ids[:1]), classifier.run(ids[1:])])).all()
    assert (both[:, 1] == [ATTACK, -2.0]).all()


@pytest.mark.parametrize("threads", [0, 1025])
def test_threads_out_of_range(folder: Path, threads: int) -> None:
    with pytest.raises(ValueError, match="threads: expected 1 to 1024"):
        Screen.load(folder, threads=threads)


def test_a_guard_and_its_screen_share_the_library(
    folder: Path, small_guards: dict[str, Path]
) -> None:
    from stepguard import Guard

    with Guard.load(small_guards["attention"], save_prefix=False, screen=folder):
        lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if "libonnxruntime" in line}
    assert paths == {str(Path(find_onnxruntime().path).resolve())}
