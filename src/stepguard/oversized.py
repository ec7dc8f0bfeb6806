"""A step that is too long for the context is read in overlapping windows, side by side."""

from __future__ import annotations

from dataclasses import replace

from stepguard.prompt import Encoder, Step, parts
from stepguard.track import Aside, Track

# Of each window this share is shown again by the next one, so that nothing is seen only in halves.
_OVERLAP = 4
# A window with fewer characters shows nothing that could be judged.
_LEAST = 64


def split(track: Track, encoder: Encoder, size: int) -> Track:
    """The track with windows of at most `size` ids over its last step.

    The last window takes the step's place; the others are beside it, on the same parent. Where a
    window would show less than 64 characters of the step's longest value, the track stays as it is,
    and overflows.
    """
    base, said = track.above, track.said
    if base is None or said is None or track.step is None:  # the beginning: a profile is no step
        return track
    windows = _windows(base, encoder, said, size)
    if not windows:
        return track
    last = windows[-1]
    beside = max(0, len(track.ids) - len(last.ids))
    return replace(
        last,
        neutralised=track.neutralised,
        capped=track.capped,
        unreadable=track.unreadable,
        lost=track.lost,
        left_out=track.left_out,
        aside=Aside(base, tuple(windows[:-1]), beside, track.step, said, said.is_action),
    )


def _windows(base: Track, encoder: Encoder, step: Step, size: int) -> list[Track]:
    form = encoder.prompt.form
    length = parts.length(form, step)
    # A first guess: four characters an id. It only ever shrinks, so that windows overlap enough.
    start, chars = 0, min(length, 4 * size)
    found: list[Track] = []
    while size > 0:
        end = min(start + chars, length)
        window = base.extend(encoder, parts.part(form, step, start, end))
        if len(window.ids) > size:
            chars = min(chars - 1, chars * size // len(window.ids))
            if chars < min(_LEAST, length):
                break
            continue
        found.append(window)
        if end == length:
            return found
        start = max(start + 1, min(end - chars // _OVERLAP, length - chars))
    return []
