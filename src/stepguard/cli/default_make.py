"""Makes the default guard: the kept adapter merged into its base, and the kept calibrations."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stepguard.audit.lock import WriterLock
from stepguard.cli.export import export_with_bar
from stepguard.cli.show import plain
from stepguard.default_guard import Base, Kept, kept_folder
from stepguard.default_guard.kept import read_calibrations
from stepguard.default_guard.place import fitting
from stepguard.errors import AuditError, ExportError
from stepguard.manifest import Manifest, load

_STDERR = 2  # the descriptor


def make(
    weights: Path, out: Path, kept: Kept, quant: str, replaces: Callable[[Path], bool] | None
) -> Manifest:
    """Exports into a folder that takes the place of `out` when all of it is there.

    replaces: which folder may be replaced; None for none.

    Raises what the export raises.
    """
    from stepguard.export.directory import new_directory
    from stepguard.train.attach import attach

    known = replaces or (lambda _: True)  # without leave to replace, none is asked
    with new_directory(out, replaces is not None, known) as work:
        made = export_with_bar(weights, work, quant=quant, adapter=kept_folder(), **kept.asking)
        for entry in fitting(made, read_calibrations(quant)):
            attach(work, entry)
        return load(work)


def find_weights(base: Base) -> Path | None:
    """The .gguf file of the package, found without importing it; None without the package.

    Raises:
        ExportError: the package holds no such file, or several.
    """
    spec = importlib.util.find_spec(base.package)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        expected, got = "one .gguf file in it", f"{len(files)} files"
        raise ExportError(f"package {base.package}", expected=expected, got=got, fix=_fix_of(base))
    return files[0]


def check_weights(weights: Path, base: Base) -> Path:
    """The file, which is the very one that the adapter was trained on.

    Raises:
        ExportError: it is another one.
    """
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != base.sha256:
        raise ExportError(
            str(weights), expected=f"sha256 {base.sha256}", got=found, fix=_fix_of(base)
        )
    return weights


def there(base: Base) -> Path:
    """The checked file of the package that is installed.

    Raises:
        ExportError: it is not installed, or holds another file.
    """
    weights = find_weights(base)
    if weights is None:
        expected, got = "one .gguf file in it", "no such package"
        raise ExportError(f"package {base.package}", expected=expected, got=got, fix=_fix_of(base))
    return check_weights(weights, base)


def fetched(base: Base) -> Path:
    """The same, after pip where it is needed. Nothing else of stepguard fetches anything."""
    try:
        return there(base)
    except ExportError:
        _pip(base, again=importlib.util.find_spec(base.package) is not None)
    return there(base)


def _pip(base: Base, again: bool) -> None:
    words = ["install", "--no-deps", *(["--force-reinstall"] if again else []), base.requirement]
    # -P: a module named pip in the folder where somebody types this is not the one that is meant.
    command = [sys.executable, "-P", "-m", "pip", *words]
    print("$", plain(" ".join(command)), file=sys.stderr, flush=True)
    # pip's own words go to stderr: standard output is for the result.
    status = subprocess.run(command, stdout=_STDERR, check=False).returncode
    if status:
        raise ExportError(
            "pip",
            expected=f"it to install {base.requirement}",
            got=f"exit status {status}",
            fix=f"Install {base.requirement} in your own way, and type it again.",
        )
    importlib.invalidate_caches()


def _fix_of(base: Base) -> str:
    return f"Type: pip install --no-deps --force-reinstall {base.requirement}"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """One install at a time; what a killed one left beside `out` is removed.

    Raises:
        ExportError: another one is at work.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = WriterLock(out)
    except AuditError as error:
        fix = "Wait until it ends, and type it again."
        raise ExportError(
            str(out), expected="no other install at work", got=error.got, fix=fix
        ) from error
    try:
        for name in (f".{out.name}.*-*", f"..{out.name}.partial-*"):
            for left in out.parent.glob(name):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.close()
