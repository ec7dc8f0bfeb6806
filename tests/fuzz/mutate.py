"""Small mutators: neighbours of valid inputs, decided by a seeded generator and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

_NUMBERS = (0, 1, 2, 31, 32, 33, 127, 128, 255, 256, 65535, 1 << 31, (1 << 32) - 1)
_NUMBERS += ((1 << 60) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "a\x00b",
    "\ud800",
    "../x",
    [],
    {},
    [[]],
    0,
    -1,
    0.5,
)
_VALUES += (
    1 << 31,
    1 << 53,
    1 << 63,
    10**400,
    float("inf"),
    float("nan"),
    1e-320,
    [0] * 70,
    "x" * 300,
)


def mutate_bytes(data: bytes, random: Random, words: tuple[bytes, ...] = ()) -> bytes:
    """One to four small changes: bits, numbers of 1 to 8 bytes, words, cuts and copies."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        kind = random.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            size = random.choice((1, 2, 4, 8))
            number = random.choice(_NUMBERS) % (1 << 8 * size)
            changed[at : at + size] = number.to_bytes(size, "little")
        elif kind == 2:
            del changed[at : at + random.choice((1, 2, 4, 8, 64))]
        elif kind == 3:
            piece = changed[at : at + random.randrange(1, 64)]
            changed[at:at] = piece * random.choice((1, 1, 2, 16))
        elif kind == 4 and words:
            word = random.choice(words)
            changed[at : at + random.choice((0, len(word)))] = word
        elif random.randrange(8) == 0:
            del changed[at:]
    return bytes(changed)


def mutate_json(data: bytes, random: Random) -> bytes:
    """A change of one value, key or level of a JSON text; of its bytes where it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, random)
    try:
        for _ in range(random.randint(1, 3)):
            value = _changed(value, random)
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return mutate_bytes(data, random)


def _changed(value: Any, random: Random) -> Any:
    # Copies, since a part that stood in two places would change while it is walked.
    inside = isinstance(value, dict | list) and value
    if inside and random.randrange(6):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = random.choice(keys)
        kind = random.randrange(10)
        if kind == 0:
            del value[key]
        elif kind == 1 and isinstance(value, list):
            value.append(copy.deepcopy(value[key]))
        elif kind == 1:
            value[random.choice((f"{key}x", "", "\ud800", "__proto__"))] = copy.deepcopy(value[key])
        elif kind == 2:
            value[key] = copy.deepcopy(value[random.choice(keys)])
        else:
            value[key] = _changed(value[key], random)
        return value
    kind = random.randrange(8)
    if kind == 0:
        return [value]
    if kind == 1:
        return {"role": value}
    if kind == 2 and type(value) in (int, float):
        return value * random.choice((-1, 2, 1 << 20)) + random.choice((-1, 0, 1))
    if kind == 3:
        return _nested(value, random.choice((3, 40, 400)))
    return copy.deepcopy(random.choice(_VALUES))


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value
