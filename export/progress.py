"""A progress bar for exports, on stderr so that stdout stays for data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from stepguard.harmless import plain


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yields a callback for `export_model(progress=...)`; nothing is drawn without a terminal."""
    console = Console(stderr=True)
    what = TextColumn("{task.description}", markup=False)  # names of tensors, from anywhere
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn(), what)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=None)

        def report(name: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=plain(name))

        yield report
