"""Numbers of a configuration, checked one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepguard.errors import ModelFormatError

MAX_LAYERS = 10_000
_LARGE = 1 << 30  # a limit that needs no mention


class Fields:
    """Typed access to a mapping whose errors name the file and the key."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where, self.values = where, values

    def bad(self, key: str, expected: str) -> ModelFormatError:
        """The error for a key."""
        return ModelFormatError(
            f"{self.where}: {key}", expected=expected, got=repr(self.values.get(key))
        )

    def whole(self, key: str, default: int | None = None, most: int = (1 << 31) - 1) -> int:
        """A positive whole number, `most` at most."""
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value <= most:
            limit = "" if most > _LARGE else f", {most} at most"
            raise self.bad(key, f"a positive whole number{limit}")
        return value

    def layers(self, key: str) -> int:
        """A number of layers: bounded, since what is made of it grows with it."""
        return self.whole(key, most=MAX_LAYERS)

    def real(self, key: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 < float(value or 0) < float("inf"):
            raise self.bad(key, "a positive number")
        return float(value or 0)

    def switch(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) is not bool:
            raise self.bad(key, "true or false")
        return value
