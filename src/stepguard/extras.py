"""Packages that come with an extra, and what is said where they are not there (a leaf)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stepguard.errors import StepguardError


@contextmanager
def needs(
    extra: str, where: str, expected: str = "", error: type[StepguardError] = StepguardError
) -> Iterator[None]:
    """Turns an ImportError inside into a named error that says which extra to install."""
    try:
        yield
    except ImportError as missing:
        raise error(
            where,
            expected=expected or f"the packages of the extra [{extra}]",
            got=str(missing),
            fix=f"Type: pip install 'stepguard[{extra}]'",
        ) from missing
