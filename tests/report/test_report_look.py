"""The page in a browser: nothing runs, nothing is refused, and it has a light and a dark look."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report.pages import EVIL, Read, full

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LIGHT, DARK = "1", "0"  # PreferredColorScheme of Blink


@pytest.fixture(scope="module")
def browser() -> str:
    """A Chromium; the tests are skipped where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is in PATH")
    return found


def run(browser: str, page: Path, *options: str, scheme: str = LIGHT) -> tuple[str, str]:
    """What the browser wrote to stdout, and what it logged."""
    command = [
        browser,
        "--headless",
        "--no-sandbox",  # tests may run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        f"--user-data-dir={page.parent / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={scheme}",
        *options,
        page.as_uri(),
    ]
    home = {**os.environ, "HOME": str(page.parent), "XDG_CONFIG_HOME": str(page.parent)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=home, check=True
    )
    return done.stdout, done.stderr


def test_a_browser_finds_what_the_parser_found(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(full(EVIL))
    dom, log = run(browser, page, "--dump-dom")
    mine, theirs = Read(page.read_text()), Read(dom)
    assert [name for name, _ in theirs.skeleton] == [name for name, _ in mine.skeleton]
    assert "".join(theirs.texts).split() == "".join(mine.texts).split()
    for word in ("Content Security Policy", "Refused", "ERR_", "Uncaught"):
        assert word not in log, log


def test_the_policy_holds(browser: str, tmp_path: Path) -> None:
    """What a fault of ours would let in is not run either."""
    page = tmp_path / "page.html"
    planted = '<script>document.title = "ran"</script><img src="x" onerror="document.title=1">'
    page.write_text(full().replace("<main>", f"<main>{planted}"))
    dom, log = run(browser, page, "--dump-dom")
    assert "<title>ran</title>" not in dom
    assert "Content Security Policy" in log


@pytest.mark.parametrize(("scheme", "ground"), [(LIGHT, (255, 255, 255)), (DARK, (13, 17, 23))])
def test_light_and_dark(
    browser: str, tmp_path: Path, scheme: str, ground: tuple[int, int, int]
) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    page.write_text(full())
    run(browser, page, f"--screenshot={shot}", "--window-size=1000,1400", scheme=scheme)
    with image.open(shot) as picture:
        pixels = picture.convert("RGB")
        assert pixels.size == (1000, 1400)
        assert pixels.getpixel((3, 3)) == ground
        colours = pixels.getcolors(1 << 22)
    assert len(colours) > 50  # text, marks and edges, not an empty page
