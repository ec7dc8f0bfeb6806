"""Steps told apart by their content, and the calls that were blocked left out of them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepguard.messages import Entry, ToolCall, with_calls
from stepguard.prompt import Step

Digest = bytes


def _digest(*parts: str | bytes) -> Digest:
    """sha256 of the parts and their lengths."""
    found = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.digest()


def of_profile(profile: str) -> Digest:
    """Of what stands before the first step."""
    return _digest("profile", profile)


def of_step(before: Digest, step: Step) -> Digest:
    """Of a trajectory that goes on with a step: what comes before it counts as well."""
    texts = [part for key, text in step.fields for part in (key, text.python, text.json)]
    return _digest(before, step.role, str(step.unreadable), *texts)


def of_call(call: ToolCall, *more: str | bytes) -> Digest:
    """Of a call, its id included."""
    return _digest(call.id, call.name, call.text, *more)


@dataclass(frozen=True, slots=True)
class Item:
    """An entry and its place: the digest of the list before it, as it came."""

    entry: Entry
    before: Digest

    @property
    def after(self) -> Digest:
        """The digest of the list with it."""
        return of_step(self.before, self.entry.step)


def placed(profile: Digest, entries: Sequence[Entry]) -> list[Item]:
    """The entries with their places."""
    found, before = [], profile
    for entry in entries:
        found.append(Item(entry, before))
        before = found[-1].after
    return found


class Recent:
    """A set of the newest digests. Threads may share it."""

    def __init__(self, most: int, kept: Sequence[Digest] = ()) -> None:
        self._most, self._kept = most, OrderedDict.fromkeys(kept)
        self._lock = threading.Lock()

    def add(self, digest: Digest) -> None:
        """Adds one; the oldest goes where there are too many."""
        with self._lock:
            self._kept.pop(digest, None)
            self._kept[digest] = None
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def discard(self, digest: Digest) -> None:
        """Takes one out, if it is there."""
        with self._lock:
            self._kept.pop(digest, None)

    def joined(self, other: Recent) -> Recent:
        """Another with what is in both."""
        found = []
        for one in (self, other):
            with one._lock:
                found += list(one._kept)
        return Recent(self._most, found[-self._most :])

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._kept

    def __len__(self) -> int:
        return len(self._kept)


class Blocked:
    """Calls that were blocked, so that they did not happen: those in a host's list are left out.

    A call of a conversation is known again by its id, name and arguments, wherever it stands; in
    another conversation, or without an id, by all that came before it too.
    """

    def __init__(self, places: Recent, own: Recent) -> None:
        """places: shared by all conversations."""
        self._places, self._own = places, own

    def add(self, item: Item, call: ToolCall) -> None:
        """A call did not happen."""
        self._places.add(self._place(item, call))
        if call.id:
            self._own.add(of_call(call))

    def discard(self, item: Item, call: ToolCall) -> None:
        """A call may happen, or has: from now on it counts, earlier ones that look the same too."""
        self._places.discard(self._place(item, call))
        self._own.discard(of_call(call))

    def joined(self, other: Blocked) -> Blocked:
        """For a conversation that goes on from another one: what either knows."""
        return Blocked(self._places, self._own.joined(other._own))

    @property
    def empty(self) -> bool:
        """Whether it knows no more than all conversations do."""
        return len(self._own) == 0

    def without(self, items: Sequence[Item]) -> list[Entry]:
        """What has happened of a list."""
        found = (self._happened(item) for item in items)
        return [entry for entry in found if entry is not None]

    def _happened(self, item: Item) -> Entry | None:
        entry = item.entry
        left = tuple(call for call in entry.calls if not self._has(item, call))
        if len(left) == len(entry.calls):
            return entry
        return replace(entry, step=with_calls(entry.step, left), calls=left) if left else None

    def _has(self, item: Item, call: ToolCall) -> bool:
        if call.id and len(self._own) and of_call(call) in self._own:
            return True
        return len(self._places) > 0 and self._place(item, call) in self._places

    @staticmethod
    def _place(item: Item, call: ToolCall) -> Digest:
        return of_call(call, item.before)


def common(one: Sequence[Digest], other: Sequence[Digest]) -> int:
    """How many steps two trajectories share from their beginning; each digest covers all before."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[middle - 1] == other[middle - 1] else (low, middle - 1)
    return low
