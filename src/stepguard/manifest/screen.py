"""manifest.json of a screen: an encoder classifier that looks at tool results before the guard."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from stepguard.manifest.fields import Count, FileEntry, Licence, PlainName, Share, Size, digest
from stepguard.manifest.reading import Is, check_tree, plain, read_object, wrong
from stepguard.manifest.text import check_format, parse, read_text

SCREEN_FORMAT = "stepguard-screen"
SCREEN_VERSION = 1
MODEL, TOKENIZER = "model.onnx", "tokenizer.json"

TokenId = Annotated[int, Is(lambda value: 0 <= value < 1 << 31, "a token id")]


@dataclass(frozen=True)
class ScreenOrigin:
    """Where the classifier comes from, and the versions of the packages that turned it into ONNX.

    difference: largest distance between a logit of model.onnx and of the checkpoint in PyTorch, as
    measured at export over a short and a whole window.
    """

    source: str
    revision: str
    packages: Mapping[str, str]
    difference: float


@dataclass(frozen=True)
class ScreenManifest:
    """All of a screen's manifest.json.

    labels: in the order of the outputs. flagged: those that make a text suspicious, from a summed
    probability of `threshold` on. window: most tokens of one run, with `begin` in front and `end`
    behind; two neighbours share `overlap` tokens. vocabulary: token ids are below it.
    """

    stepguard_version: str
    architecture: str
    labels: tuple[str, ...]
    flagged: tuple[str, ...]
    threshold: Share
    window: Count
    overlap: Size
    begin: tuple[TokenId, ...]
    end: tuple[TokenId, ...]
    vocabulary: Count
    licence: Licence
    origin: ScreenOrigin
    files: Mapping[PlainName, FileEntry]
    format: str = dataclasses.field(default=SCREEN_FORMAT, kw_only=True)
    format_version: int = dataclasses.field(default=SCREEN_VERSION, kw_only=True)

    @property
    def sha256(self) -> str:
        """Names the screen: the hash over names and hashes of its files (hex)."""
        return digest(self.files)

    @property
    def room(self) -> int:
        """Tokens of a text in one window."""
        return self.window - len(self.begin) - len(self.end)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        result: dict[str, Any] = plain(self)
        return result

    def to_json(self) -> str:
        """The text of manifest.json. Raises ValueError for a number that is not finite."""
        return json.dumps(self.to_dict(), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, value: object) -> ScreenManifest:
        """Checks a JSON object and everything in it. Raises ModelFormatError."""
        check_format(value, SCREEN_FORMAT, SCREEN_VERSION)
        check_tree(value)
        manifest: ScreenManifest = read_object(cls, value, "")
        _check_agreement(manifest)
        return manifest


def load_screen(folder: str | Path) -> ScreenManifest:
    """Reads manifest.json of a screen; the other files are not touched.

    Raises:
        ModelFormatError: it is missing, unreadable, damaged, of another format or newer.
    """
    fix = "Give the folder that `stepguard screen export` wrote."
    text = read_text(Path(folder), "the manifest of a screen", fix)
    return ScreenManifest.from_dict(parse(text))


def _check_agreement(manifest: ScreenManifest) -> None:
    for name in (MODEL, TOKENIZER, *manifest.licence.files):
        if name not in manifest.files:
            raise wrong(f"files.{name}", "an entry", None)
    labels, flagged = set(manifest.labels), set(manifest.flagged)
    if len(labels) < max(2, len(manifest.labels)):
        raise wrong("labels", "at least two labels, none of them twice", list(manifest.labels))
    if not flagged or not flagged < labels or len(flagged) < len(manifest.flagged):
        raise wrong("flagged", "some of the labels, not all", list(manifest.flagged))
    if manifest.overlap >= manifest.room:
        expected = f"fewer than the {manifest.room} tokens of a text in a window"
        raise wrong("overlap", expected, manifest.overlap)
    if max((*manifest.begin, *manifest.end), default=0) >= manifest.vocabulary:
        expected = f"ids below the vocabulary's {manifest.vocabulary}"
        raise wrong("begin, end", expected, [*manifest.begin, *manifest.end])
