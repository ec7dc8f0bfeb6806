"""A screen: an encoder classifier that looks at a text before a guard does.

It is small and quick, and says only whether a text looks like an attack: what it flags is `unsure`,
for the guard to decide. It never says `unsafe`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from stepguard.call import Call
from stepguard.errors import ModelFormatError, TokenizerError, check_process
from stepguard.integrity import recheck, verify_files
from stepguard.known_files import KnownFiles
from stepguard.manifest.screen import MODEL, TOKENIZER, ScreenManifest, load_screen
from stepguard.private_files import cache_folder
from stepguard.runtime import Classifier
from stepguard.scan import ClosedError, Scan, Window
from stepguard.spans import spans
from stepguard.taxonomy import Calibration, LabelRows, Status, Verdict

# Characters that are encoded at once, and those that two neighbours share: a text of any length
# takes little memory, and a deadline is looked at in between.
_SLICE, _SLICE_OVERLAP = 1 << 16, 1 << 10
_EXPORT_AGAIN = "Export it again with: stepguard screen export CHECKPOINT OUT"


class Screen:
    """Shared by any number of guards, sessions and threads. Make it with `Screen.load`."""

    def __init__(
        self, manifest: ScreenManifest, tokenizer: Tokenizer, unknown: int, classifier: Classifier
    ) -> None:
        self.manifest = manifest
        self._tokenizer, self._unknown = tokenizer, unknown
        added = tokenizer.get_added_tokens_decoder().items()
        special = [index for index, token in added if token.special and index != unknown]
        self._special = np.array(special, np.int64)
        self._classifier: Classifier | None = classifier
        flagged = {manifest.labels.index(label) for label in manifest.flagged}
        others = set(range(len(manifest.labels))) - flagged
        self._rows = LabelRows.of(safe=others, unsafe=flagged)
        threshold = manifest.threshold
        self._scores = Calibration(1.0, 0.0, threshold, threshold)
        self._pid = os.getpid()
        self.pace = 0.0
        """Seconds that a window takes: a running mean, 0 before the first."""

    @classmethod
    def load(cls, path: str | Path, *, threads: int = 1, ort_library: str | None = None) -> Screen:
        """Opens the folder that `stepguard screen export` wrote, after checking its files.

        Args:
            threads: of a run; 1 runs in the thread that calls.
            ort_library: the ONNX Runtime library; None finds the installed wheel's. A guard and its
                screen share one.

        Raises:
            ModelFormatError, ModelTamperedError: the folder cannot be used as it is.
            TokenizerError: its tokenizer cannot.
            RuntimeMissingError: no usable ONNX Runtime. ValueError: `threads` is out of range.
        """
        folder = Path(path)
        manifest = load_screen(folder)
        big = manifest.files.keys() - {TOKENIZER}
        known = KnownFiles(cache_folder())
        with verify_files(
            folder, manifest.files, whole={TOKENIZER}, big=big, known=known
        ) as verified:
            tokenizer, unknown = _tokenizer(verified.tokenizer, manifest)
            classifier = Classifier(folder / MODEL, threads=threads, ort_library=ort_library)
            recheck(verified)
        _probe(classifier, manifest, str(folder / MODEL))
        return cls(manifest, tokenizer, unknown, classifier)

    @classmethod
    def of(cls, given: str | Path | Screen | None, ort_library: str | None) -> Screen | None:
        """What `Guard.load` is given, loaded where it is a path. Raises what `load` raises."""
        if given is None or isinstance(given, Screen):
            return given
        return cls.load(given, ort_library=ort_library)

    def check(self, text: str, *, deadline_ms: float | None = None) -> Verdict:
        """Whether a text looks like an attack: `safe`, `unsure`, or `unavailable` with a reason.

        Long texts are read in overlapping windows, and the highest score counts.

        Raises:
            ForkedProcessError: called in a child of fork().
            TypeError: `text` is no string. ValueError: `deadline_ms` is no positive number.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected a string, got {type(text).__name__}")
        scan = self.scan(text)
        scan.run(Call.begin(deadline_ms).until)
        return scan.verdict(None)

    def scan(self, text: str) -> Scan:
        """The reading of one text, which may be interrupted and go on."""
        return Scan(self, text)

    def check_process(self) -> None:
        """Raises ForkedProcessError in a child of fork()."""
        check_process(self._pid, "this screen")

    def windows(self, text: str) -> Iterator[Window]:
        """The token ids of a text, window by window."""
        manifest = self.manifest
        begin, end = (np.array(ids, np.int64) for ids in (manifest.begin, manifest.end))
        for first, last in spans(len(text), _SLICE, _SLICE_OVERLAP, full=False):
            part = text[first:last]
            part.encode()  # what is no Unicode is told as such
            encoding = self._tokenizer.encode(part, add_special_tokens=False)
            ids, offsets = np.array(encoding.ids, np.int64), encoding.offsets
            # Some vocabularies have the special tokens as words too: content may not write them.
            forged = np.isin(ids, self._special)
            if self._unknown < 0 and forged.any():
                raise ValueError("a special token of the classifier, as a word")
            ids[forged] = self._unknown
            for left, right in spans(len(ids), manifest.room, manifest.overlap, full=True):
                own = ids[left:right]
                unknown = int((own == self._unknown).sum())
                place = first + offsets[right - 1][1]
                yield Window(np.concatenate([begin, own, end]), len(own), unknown, place)

    def margin(self, ids: npt.NDArray[np.int64]) -> float:
        """Logit of the flagged labels minus that of the others; NaN where one is not finite.

        ids: int64 [n], one window. Raises RuntimeError when the graph refuses, or the screen was
        closed.
        """
        classifier = self._classifier
        if classifier is None:
            raise ClosedError("the screen was closed")
        started = time.monotonic()
        logits = classifier.run(ids[None])
        seconds = time.monotonic() - started
        self.pace = 0.7 * self.pace + 0.3 * seconds if self.pace else seconds
        if logits.shape != (1, len(self.manifest.labels)):
            raise RuntimeError(f"logits of shape {logits.shape} for {self.manifest.labels}")
        return self._rows.margin(logits[0])

    def score(self, margin: float) -> tuple[Status, float]:
        """Status and score of a margin: `unsure` from the threshold on, else `safe`."""
        score = self._scores.score(margin)
        flagged = score >= self.manifest.threshold
        return (Status.UNSURE if flagged else Status.SAFE), score

    def close(self) -> None:
        """Frees the memory once nothing runs; later checks are `unavailable(closing)`."""
        if os.getpid() == self._pid:
            self._classifier = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _tokenizer(text: bytes, manifest: ScreenManifest) -> tuple[Tokenizer, int]:
    """The tokenizer, which cuts nothing and makes no special token of content; the id of what it
    does not know, or -1."""
    try:
        data = json.loads(text)
        model = data["model"]
        tokenizer = Tokenizer.from_str(text.decode())
    except Exception as error:  # tokenizers raises bare Exception for every fault of the file
        got = f"{type(error).__name__}: {error}"[:200]
        expected = "a tokenizer that the library tokenizers reads"
        raise TokenizerError(TOKENIZER, expected=expected, got=got, fix=_EXPORT_AGAIN) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    most = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if most >= manifest.vocabulary:
        expected = f"ids below the vocabulary's {manifest.vocabulary}"
        raise TokenizerError(TOKENIZER, expected=expected, got=f"id {most}", fix=_EXPORT_AGAIN)
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token") is not None:
        unknown = tokenizer.token_to_id(model["unk_token"])
    return tokenizer, -1 if unknown is None else unknown


def _probe(classifier: Classifier, manifest: ScreenManifest, where: str) -> None:
    """One run, so that a graph of another classifier is refused now, not at the first text."""
    ids = np.array([[*manifest.begin, *manifest.end] or [0]], np.int64)
    expected = f"{len(manifest.labels)} finite logits a window"
    try:
        logits = classifier.run(ids)
        found = f"{logits.shape[1]} logits" if np.isfinite(logits).all() else "others"
    except RuntimeError as error:
        found = str(error)[:200]
    if found != f"{len(manifest.labels)} logits":
        raise ModelFormatError(where, expected=expected, got=found, fix=_EXPORT_AGAIN)
