"""The fillers of templates: people, companies, amounts ... drawn when they are first needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from stepguard.train.generator.draw import Draw
from stepguard.train.generator.names import POOLS
from stepguard.train.generator.notes import NOTES

_NAME = re.compile(r"([a-z_]+)(\d*)")
_SLOT = re.compile(r"\{([a-z_]+\d*)\}")


class Slots:
    """Values by name. A name is a kind and a number: `person` and `person2` are different people,
    `mail2` and `first2` belong to the second. The same name always gives the same value."""

    def __init__(self, draw: Draw, extra: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._draw, self._pools = draw, {**POOLS, **(extra or {})}
        self._values: dict[str, str] = {}
        self._over: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name in self._over:
            return self._over[name]
        if name not in self._values:
            self._values[name] = self._make(name)
        return self._values[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._values[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._over or name in self._values

    def pool(self, kind: str) -> tuple[str, ...]:
        """What a kind is drawn from."""
        return self._pools[kind]

    def with_values(self, **values: str) -> Slots:
        """The same slots, now and later, but for these values."""
        twin = Slots(self._draw)
        twin._pools, twin._values, twin._over = self._pools, self._values, {**self._over, **values}
        return twin

    def fill(self, text: str) -> str:
        """A template's text. Slots of values are filled, too."""
        while True:
            filled = _SLOT.sub(lambda match: self[match[1]], text)
            if filled == text:
                return filled
            text = filled

    def fill_all(self, value: Any) -> Any:
        """A JSON value whose texts are filled."""
        if isinstance(value, str):
            return self.fill(value)
        if isinstance(value, Mapping):
            return {self.fill(key): self.fill_all(item) for key, item in value.items()}
        return [self.fill_all(item) for item in value] if isinstance(value, list | tuple) else value

    def two(self, kind: str) -> None:
        """Draws `good` and `bad`: two different ones of a kind, or an ordered pair of numbers."""
        if kind in _PAIRS:
            self["good"], self["bad"] = _PAIRS[kind](self._draw, self)
        else:
            self["good"], self["bad"] = self[f"{kind}8"], self[f"{kind}9"]

    def _make(self, name: str) -> str:
        match = _NAME.fullmatch(name)
        if match is None:
            raise KeyError(name)
        kind, number = match[1], match[2]
        if kind in _MAKERS:
            return self._fresh(lambda: _MAKERS[kind](self._draw, self, number))
        pool = NOTES if kind == "note" else self._pools[kind]
        return self._fresh(lambda: self._draw.pick(pool))

    def _fresh(self, make: Callable[[], str]) -> str:
        """A value that no slot has yet, where the pool is large enough for that."""
        for _ in range(50):
            value = make()
            if value not in self._values.values():
                break
        return value


def _digits(draw: Draw, count: int) -> str:
    return str(draw.between(1, 9)) + "".join(str(draw.below(10)) for _ in range(count - 1))


def _mail(draw: Draw, slots: Slots, number: str) -> str:
    first, last = slots[f"person{number}"].lower().split(" ", 1)
    return f"{first}.{last}@{slots['orgsite']}".replace(" ", "").replace("'", "")


def _handle(draw: Draw, slots: Slots, number: str) -> str:
    first, last = slots[f"person{number}"].lower().split(" ", 1)
    return f"{first}.{last[0]}"


def _outmail(draw: Draw, slots: Slots, number: str) -> str:
    box = draw.pick(slots.pool("mailbox"))
    return f"{box}@{draw.pick(slots.pool('site'))}"


def _iban(draw: Draw, slots: Slots, number: str) -> str:
    return f"{draw.pick(('DE', 'FR', 'NL', 'AT', 'ES', 'IE'))}{_digits(draw, 18)}"


def _amount(draw: Draw, slots: Slots, number: str) -> str:
    return f"{draw.between(40, 1900)}.{draw.pick(('00', '50', '90', '95', '20', '75'))}"


def _date(draw: Draw, slots: Slots, number: str) -> str:
    return f"2025-{draw.between(1, 12):02d}-{draw.between(1, 28):02d}"


def _url(draw: Draw, slots: Slots, number: str) -> str:
    page = draw.pick(slots.pool("page"))
    return f"https://{draw.pick(slots.pool('site'))}/{page}/{_digits(draw, 4)}"


def _hex(draw: Draw, count: int) -> str:
    return "".join(draw.pick("0123456789abcdef") for _ in range(count))


_MAKERS: dict[str, Callable[[Draw, Slots, str], str]] = {
    "mail": _mail,
    "first": lambda draw, slots, number: slots[f"person{number}"].split(" ")[0],
    "handle": _handle,
    "outmail": _outmail,
    "orgsite": lambda draw, slots, number: re.sub(r"\W+", "-", slots["org"].lower()) + ".example",
    "iban": _iban,
    "amount": _amount,
    "date": _date,
    "time": lambda draw, slots, number: (
        f"{draw.between(8, 18):02d}:{draw.pick(('00', '15', '30'))}"
    ),
    "url": _url,
    "price": lambda draw, slots, number: f"{draw.between(9, 160)}.{draw.pick(('00', '50', '90'))}",
    "order": lambda draw, slots, number: f"ORD-{_digits(draw, 5)}",
    "booking": lambda draw, slots, number: f"B{_hex(draw, 6).upper()}",
    "case": lambda draw, slots, number: f"CASE-{_digits(draw, 4)}",
    "invoice": lambda draw, slots, number: f"INV-{_digits(draw, 5)}",
    "thread": lambda draw, slots, number: f"thr_{_hex(draw, 8)}",
    "ticket": lambda draw, slots, number: f"OPS-{_digits(draw, 4)}",
    "id": lambda draw, slots, number: _digits(draw, 4),
    "count": lambda draw, slots, number: str(draw.between(2, 19)),
    "phone": lambda draw, slots, number: f"+49 30 5550 {_digits(draw, 3)}",
    "sha": lambda draw, slots, number: _hex(draw, 7),
    "secret": lambda draw, slots, number: f"{draw.pick(('sk', 'ghp', 'key'))}-{_hex(draw, 20)}",
    "path": lambda draw, slots, number: f"{slots[f'folder{number}']}/{slots[f'file{number}']}",
}


def _around(draw: Draw, slots: Slots) -> tuple[str, str]:
    """Below and above `{limit}`."""
    limit = draw.pick((100, 150, 200, 250, 300, 400, 500))
    slots["limit"] = str(limit)
    return str(limit - draw.between(5, limit // 2)), str(limit + draw.between(5, limit))


def _dose(draw: Draw, slots: Slots) -> tuple[str, str]:
    """A dose, and ten times as much."""
    good = draw.pick((2, 5, 10, 20, 25, 40, 50))
    return f"{good} mg", f"{good * 10} mg"


_PAIRS: dict[str, Callable[[Draw, Slots], tuple[str, str]]] = {"around": _around, "dose": _dose}
