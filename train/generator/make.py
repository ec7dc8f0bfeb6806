"""Records from families: which families there are, which are held out, and pairs of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepguard.errors import StepguardError
from stepguard.train.generator.domains import DOMAINS
from stepguard.train.generator.draw import Draw
from stepguard.train.generator.grammar import Call, Chore, Domain
from stepguard.train.generator.injected import MEMORY, PLACES, tell_injection
from stepguard.train.generator.slots import Slots
from stepguard.train.generator.story import Event, Teller, filled, rounds, told
from stepguard.train.generator.style import Style
from stepguard.train.generator.tellings import Tales, tell_choice, tell_consent, tell_misuse

SOURCE = "generated"
SPLITS = ("train", "held-out", "all")
_HELD_OUT_OF = 4  # one family of so many is held out
_MOST_STEPS = 40  # beyond which no further piece of work is put around
# How many rounds of other work stand before and after. More after than before: otherwise whatever
# is late would tend to be unsafe.
_BEFORE, _AFTER = (0, 0, 0, 0, 0, 1, 2), (1, 2, 3, 4)
_CUT = 0.25  # share of pairs whose twins end at an action, as a guard meets them

Item = Any  # Chore, Choice, Consent or Misuse


@dataclass(frozen=True)
class Pair:
    """An unsafe record and its safe twin, as JSON objects."""

    unsafe: dict[str, Any]
    safe: dict[str, Any]


@dataclass(frozen=True)
class Family:
    """One piece of work of a domain, in all its variants. name: "mail/chore/answer"."""

    name: str
    domain: Domain
    item: Item

    @property
    def held_out(self) -> bool:
        """Whether it is kept for the final measure."""
        return held_out(self.name)


def held_out(family: str) -> bool:
    """Whether a family is held out: by the SHA-256 of its name, so for ever. About one in four."""
    return int(hashlib.sha256(f"held out {family}".encode()).hexdigest(), 16) % _HELD_OUT_OF == 0


def families(split: str = "all") -> list[Family]:
    """The families of a split ("train", "held-out", "all"), by name."""
    found = []
    for domain in DOMAINS:
        for kind, items in (
            ("chore", domain.chores), ("choice", domain.choices),
            ("consent", domain.consents), ("misuse", domain.misuses),
        ):  # fmt: skip
            found += [Family(f"{domain.name}/{kind}/{item.name}", domain, item) for item in items]
    found.sort(key=lambda family: family.name)
    return [one for one in found if split == "all" or one.held_out == (split == "held-out")]


def pairs(seed: int, count: int, split: str = "all") -> Iterator[Pair]:
    """`count` pairs, families in turn. The first n are the same for every count.

    Raises:
        StepguardError: the split is unknown, or the count is not positive.
    """
    if split not in SPLITS or count < 1:
        got = f"{split}, {count}"
        raise StepguardError("split and count", expected=f"{', '.join(SPLITS)}; 1 or more", got=got)
    listed = families(split)
    for index in range(count):
        family = listed[index % len(listed)]
        yield _pair(family, seed, index // len(listed))


def generate(seed: int, count: int, split: str = "all") -> Iterator[dict[str, Any]]:
    """`count` records, an unsafe one and its safe twin in turn; the last may lack its twin."""
    for index, pair in enumerate(pairs(seed, (count + 1) // 2, split)):
        yield pair.unsafe
        if 2 * index + 1 < count:
            yield pair.safe


def write(
    path: Path,
    seed: int,
    count: int,
    split: str = "all",
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Writes `count` records as JSON lines; its SHA-256 (hex). Same seed, same bytes."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for done, record in enumerate(generate(seed, count, split), start=1):
            line = line_of(record)
            file.write(line)
            digest.update(line)
            if progress is not None:
                progress(done, count)
    return digest.hexdigest()


def line_of(record: dict[str, Any]) -> bytes:
    """A record as a line of JSON."""
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _pair(family: Family, seed: int, number: int) -> Pair:
    draw = Draw(seed, family.name, number)
    item, place = family.item, ""
    if isinstance(item, Chore):
        place = draw.pick(("result", *PLACES))  # the commonest place twice
    domain = family.domain
    if place == "memory" or draw.chance(0.25):
        domain = replace(domain, ops={**domain.ops, "recall": MEMORY})
    style = Style(draw, domain, described=place == "description")
    teller, slots = Teller(domain, style, draw), Slots(draw, domain.extra)
    tales = _tales(teller, item, place, slots, draw)
    before, after = _around(teller, family, tales, slots, draw)
    head = [slots.fill(draw.pick(domain.roles)), tales.rule, style.tools(tales.doctored)]
    profile = "\n".join(part for part in head if part)
    cut = draw.chance(_CUT)
    made = []
    for label, events in ((1, tales.unsafe), (0, tales.safe)):
        story = told([*before, *events, *after], style)
        steps = list(story.steps)
        if cut:
            acts = [i for i in range(story.decisive, len(steps)) if steps[i]["role"] == "agent"]
            steps = steps[: draw.pick(acts) + 1]
        meta = {
            "family": family.name, "variant": tales.variant, "place": place or None,
            "held_out": family.held_out, "decisive_step": story.decisive, "seed": seed,
            "number": number,
        }  # fmt: skip
        made.append(_record(label, profile, steps, tales, meta))
    return Pair(*made)


def _record(
    label: int, profile: str, steps: list[dict[str, Any]], tales: Tales, meta: dict[str, Any]
) -> dict[str, Any]:
    source, failure, harm = map(str, tales.labels) if label else (None, None, None)
    stem = f"{meta['family'].replace('/', '-')}-{meta['seed']}-{meta['number']}"
    return {
        "id": f"{stem}-{'unsafe' if label else 'safe'}",
        "source": SOURCE,
        "license": "Apache-2.0",
        "profile": profile,
        "contents": rounds(steps),
        "label": label,
        "risk_source": source,
        "failure_mode": failure,
        "real_world_harm": harm,
        "first_unsafe_step": meta["decisive_step"] if label else None,
        "meta": {**meta, "twin": f"{stem}-{'safe' if label else 'unsafe'}"},
    }


def _tales(teller: Teller, item: Item, place: str, slots: Slots, draw: Draw) -> Tales:
    if isinstance(item, Chore):
        return tell_injection(teller, item, draw.pick(item.rogues), place, slots, draw)
    telling: Any = {"Choice": tell_choice, "Consent": tell_consent, "Misuse": tell_misuse}
    tales: Tales = telling[type(item).__name__](teller, item, slots, draw)
    return tales


def _around(
    teller: Teller, family: Family, tales: Tales, slots: Slots, draw: Draw
) -> tuple[list[Event], list[Event]]:
    """Harmless work before and after, the same for both twins, of families of the same split."""
    room = _MOST_STEPS - 2 * max(len(tales.unsafe), len(tales.safe))
    chores = [
        one.item for one in families() if one.domain is family.domain
        and isinstance(one.item, Chore) and one.held_out == family.held_out
    ]  # fmt: skip
    if tales.rule:
        chores = []  # other work would have to keep the rule, too
    parts: list[list[Event]] = []
    for counts in (_BEFORE, _AFTER):
        events: list[Event] = []
        for _ in range(draw.pick(counts)):
            fresh = Slots(draw, family.domain.extra)
            for name in ("person", "org"):
                fresh[name] = slots[name]
            more = _errand(teller, chores, fresh, draw)
            if 2 * len(more) <= room:
                events += more
                room -= 2 * len(more)
        parts.append(events)
    return parts[0], parts[1]


def _errand(teller: Teller, chores: list[Chore], slots: Slots, draw: Draw) -> list[Event]:
    """A round without any risk."""
    if chores and draw.chance(0.7):
        return teller.round(draw.pick(chores), slots)
    looks = teller.idle(1, 3)
    if "recall" in teller.domain.ops:
        topic = draw.pick(("preferences", "open points", "{topic}", "standing rules"))
        seen = Call("recall", (topic,), ["{topic}: {note}", "{first5} prefers {weekday}."])
        looks.insert(0, teller.look(seen))
    return filled(teller.around(looks), slots)
