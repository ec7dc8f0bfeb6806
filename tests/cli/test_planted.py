"""No command prints content that could steer the terminal: planted in every place that it shows."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.table import Table

from stepguard.audit import AuditLog
from stepguard.cli import calibrate, head, info
from stepguard.cli.show import console
from stepguard.default_guard import read_kept
from stepguard.guard import Guard
from stepguard.manifest import FILE, Manifest
from stepguard.prompt import place_fields
from stepguard.taxonomy import Dimension, Label, Taxonomy, lines_of
from tests.audit.verdicts import verdict
from tests.cli.planted import WORDS, harmless, whole
from tests.cli.ran import Ran
from tests.cli.test_stream import Stdin
from tests.export.tiny import make_checkpoint
from tests.front.fakes import FakeEngine, byte_tokenizer, make_guard, make_prompt
from tests.front.manifests import sample

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Ran]
STEPS = [
    {"role": "user", "content": WORDS},
    {"role": "agent", "thought": WORDS, "action": WORDS, WORDS: WORDS},
    {"role": "environment", "content": [{"type": WORDS}, WORDS]},
    {"role": "agent", "thought": "", "action": f"{WORDS}2"},
]


@dataclass
class Place:
    """Where a command runs."""

    run: Run
    folder: Path
    patch: pytest.MonkeyPatch
    engine: FakeEngine
    made: Path

    def checkpoint(self, name: str) -> Path:
        return Path(shutil.copytree(self.made, self.folder / name))

    def trajectory(self, name: str = f"t{WORDS}.json") -> Path:
        path = self.folder / name
        path.write_text(json.dumps({"id": WORDS, "profile": WORDS, "contents": STEPS}))
        return path

    def many(self) -> Path:
        path = self.folder / f"m{WORDS}.jsonl"
        one = {"id": WORDS, "profile": WORDS, "contents": STEPS}
        path.write_text("\n".join(map(json.dumps, [one, {**one, "id": None}])))
        return path

    def model(self) -> Path:
        """A model directory that `inspect` takes, with words wherever a manifest has free text."""
        folder = self.folder / f"model{WORDS}"
        folder.mkdir()
        prompt = {**make_prompt().to_manifest(), "name": WORDS}
        value = {**sample(), "prompt": prompt}
        value["licence"] = {"name": WORDS, "files": value["licence"]["files"]}
        value["origin"] = {**value["origin"], "source": WORDS, "revision": WORDS}
        for name in value["files"]:
            (folder / name).write_bytes(name.encode())
            digest = hashlib.sha256(name.encode()).hexdigest()
            value["files"][name] = {"sha256": digest, "bytes": len(name)}
        (folder / FILE).write_text(Manifest.from_dict(value).to_json())
        return folder

    def stdin(self, *lines: str) -> None:
        self.patch.setattr(sys, "stdin", Stdin(*lines))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("planted") / "checkpoint", "qwen3")


@pytest.fixture
def place(
    run: Run,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
) -> Place:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Place(run, tmp_path, monkeypatch, engine, checkpoint)


def one(at: Place) -> Ran:
    return at.run("moderate", f"model{WORDS}", at.trajectory())


def one_as_json(at: Place) -> Ran:
    return at.run("moderate", f"model{WORDS}", at.trajectory(), "--json")


def many(at: Place) -> Ran:
    return at.run("moderate", f"model{WORDS}", at.many())


def unavailable(at: Place) -> Ran:
    real = at.engine.submit

    def submit(*segments: Any, **options: Any) -> Any:
        ticket = real(*segments, **options)
        ticket.results = [replace(r, message=WORDS) if r.reason else r for r in ticket.results]
        return ticket

    at.engine.failures = [{}, {0: "memory"}]
    at.patch.setattr(at.engine, "submit", submit)
    return at.run("moderate", "model", at.trajectory())


def diagnosed(at: Place) -> Ran:
    labels = [
        Label(Dimension(name), f"{name}{i}{WORDS}", text, WORDS)
        for name in ("risk_source", "failure_mode", "real_world_harm")
        for i, text in enumerate(("page", "tool"))
    ]
    taxonomy = Taxonomy("test", tuple(labels))
    fields = place_fields(make_prompt(), byte_tokenizer(), taxonomy, lines_of("word"))
    changes: dict[str, Any] = {"taxonomy": WORDS, "diagnosis": fields.to_manifest()}
    at.patch.setattr(Guard, "load", lambda *_, **__: make_guard(at.engine, **changes))
    at.patch.setattr("stepguard.taxonomy.LabelRows.margin", lambda *_: 2.0)
    return at.run("moderate", "model", at.many(), "--diagnose")


def streamed(at: Place) -> Ran:
    at.stdin(json.dumps({"profile": WORDS}), *map(json.dumps, STEPS))
    return at.run("moderate", "model", "-")


def streamed_wrong(at: Place) -> Ran:
    at.stdin(json.dumps({"profile": WORDS}), json.dumps({"role": WORDS}))
    return at.run("moderate", "model", "-")


def no_file(at: Place) -> Ran:
    return at.run("moderate", "model", at.folder / f"{WORDS}.json")


def no_json(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.json"
    path.write_text(WORDS)
    return at.run("moderate", "model", path)


def no_role(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.json"
    path.write_text(json.dumps({"contents": [{"role": WORDS}]}))
    return at.run("moderate", "model", path)


def other_keys(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.json"
    path.write_text(json.dumps({WORDS: 1}))
    return at.run("moderate", "model", path)


def inspected(at: Place) -> Ran:
    return at.run("inspect", at.model())


def inspected_as_json(at: Place) -> Ran:
    return at.run("inspect", at.model(), "--json")


def inspected_damage(at: Place) -> Ran:
    model = at.model()
    value = json.loads((model / FILE).read_text())
    value[WORDS] = value["licence"]["name"]
    (model / FILE).write_text(json.dumps(value))
    return at.run("inspect", model)


def inspected_value(at: Place) -> Ran:
    model = at.model()
    value = json.loads((model / FILE).read_text())
    value["quantisation"]["kv"] = WORDS
    (model / FILE).write_text(json.dumps(value))
    return at.run("inspect", model)


def no_model(at: Place) -> Ran:
    return at.run("inspect", at.folder / WORDS)


def exported(at: Place) -> Ran:
    folder = at.checkpoint(f"c{WORDS}")
    (folder / "README.md").write_text(f"---\nlicense: {WORDS[:20]}\x1b[5;7;35m\u202e\n---\n")
    return at.run("export", folder, at.folder / f"out{WORDS}")


def exported_nothing(at: Place) -> Ran:
    (at.folder / WORDS).mkdir()
    return at.run("export", at.folder / WORDS, at.folder / "out")


def exported_strange_config(at: Place) -> Ran:
    folder = at.checkpoint("c")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": WORDS}))
    return at.run("export", folder, at.folder / "out")


def machine(at: Place) -> Ran:
    facts = info.gather()
    facts |= {"system": WORDS, "cpu": WORDS, "warnings": [WORDS], "python": WORDS}
    facts["onnxruntime"] = {"version": WORDS, "wheel": WORDS, "path": WORDS, "build": WORDS}
    facts["packages"] = {WORDS: WORDS}
    at.patch.setattr(info, "gather", lambda: facts)
    return at.run("info")


def calibrated_nothing(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.jsonl"
    path.write_text(json.dumps({"contents": STEPS, "label": WORDS}))
    return at.run("calibrate", "model", path, "--target-fnr", "0.1")


def headed_nothing(at: Place) -> Ran:
    path = at.folder / f"{WORDS}.jsonl"
    value = {"contents": STEPS, "label": 1, "first_unsafe_step": 1, "risk_source": WORDS}
    path.write_text(json.dumps(value))
    return at.run("head", "fit", "model", path)


def calibrated(at: Place) -> Ran:
    """What is printed at the end, words in every place."""
    quality = SimpleNamespace(ece=0.1, brier=0.1, log_loss=0.1)
    rates = SimpleNamespace(missed=0.1, false_alarms=0.1, per_100_actions=1.0)
    report = SimpleNamespace(
        target=SimpleNamespace(rate="fnr", rule=WORDS, delta=0.1, target=0.1),
        threshold=SimpleNamespace(families=3, rate=0.1),
        records=3, families=3, points=3, unread=0, method=WORDS, losses={WORDS: 0.1},
        before=quality, after=quality, low=0.1, high=0.2, not_safe=rates, unsafe=rates,
    )  # fmt: skip
    key = {WORDS: WORDS}
    at.patch.setattr(info, "run", lambda _: calibrate._print(report, key, written=True) or 0)
    return at.run("info")


def headed(at: Place) -> Ran:
    value = SimpleNamespace(value=0.5, low=0.4, high=0.6)
    names = ("within", "matched_within", "across", "matched", "position", "gain")
    source = SimpleNamespace(name=WORDS, families=3, prefixes=3, **dict.fromkeys(names, value))
    report = SimpleNamespace(
        labels=[WORDS], counts=[3], families=3, kind=WORDS, target=WORDS, strength=0.1,
        chosen={0.1: 0.5}, sources=[source], mean=source,
    )  # fmt: skip
    facts = {"records": 3, "unread": 0, "written": True}
    at.patch.setattr(info, "run", lambda _: head._print(report, {WORDS: WORDS}, facts) or 0)
    return at.run("info")


def default_path(at: Place) -> Ran:
    at.patch.setenv("XDG_DATA_HOME", str(at.folder / WORDS))
    at.patch.setattr(sys.stdout, "isatty", lambda: True)
    return at.run("default", "path")


def default_exported(at: Place) -> Ran:
    kept = read_kept()
    planted = replace(kept, base=replace(kept.base, package=WORDS))
    at.patch.setattr("stepguard.cli.default.read_kept", lambda: planted)
    return at.run("default", "export", at.folder / "out")


def benched(at: Place) -> Ran:
    return at.run("bench", "quality", at.folder / WORDS, at.folder / WORDS)


def bench_grown(at: Place) -> Ran:
    return at.run("bench", "growth", at.folder / WORDS)


def audited(at: Place) -> Ran:
    path = at.folder / f"log{WORDS}"
    with AuditLog(path) as log:
        for step in range(3):
            log.decision(verdict(step=step), session=WORDS)
    path.write_bytes(path.read_bytes().replace(b"0.18", b"0.98") + WORDS.encode() + b"\n\x1b[2J")
    return at.run("audit", "verify", path)


def audited_nothing(at: Place) -> Ran:
    return at.run("audit", "verify", at.folder / WORDS)


def audited_hash(at: Place) -> Ran:
    return at.run("audit", "verify", at.folder / "log", "--anchor", WORDS)


def audited_locked(at: Place) -> Ran:
    with AuditLog(at.folder / WORDS):
        return at.run("moderate", "model", at.trajectory(), "--audit", at.folder / WORDS)


def reported(at: Place) -> Ran:
    page = at.folder / f"page{WORDS}.html"
    ran = at.run("report", at.trajectory(), "-o", page, "--model", "model")
    assert page.is_file()
    return ran


def reported_other(at: Place) -> Ran:
    saved = at.folder / f"saved{WORDS}.json"
    saved.write_text(json.dumps({"trajectories": [{"verdicts": [{"status": WORDS}]}]}))
    return at.run("report", at.trajectory(), "-o", "x.html", "--verdicts", saved)


def reported_number(at: Place) -> Ran:
    return at.run("report", at.many(), "-o", "x.html", "--verdicts", "x")


def unknown_command(at: Place) -> Ran:
    return at.run(WORDS)


def unknown_option(at: Place) -> Ran:
    return at.run("moderate", "a", "b", WORDS, f"--{WORDS}")


def wrong_value(at: Place) -> Ran:
    return at.run("calibrate", "a", "b", "--target-fnr", "3", "--mode", WORDS)


def warned(at: Place) -> Ran:
    def gather() -> dict[str, Any]:
        logging.getLogger("stepguard").warning("the file %s is odd", WORDS)
        raise OSError(5, WORDS, WORDS)

    at.patch.setattr(info, "gather", gather)
    return at.run("info")


def printed(at: Place) -> Ran:
    """What commands print that escape nothing: the console itself holds."""

    def run(_: object) -> int:
        table = Table(title=WORDS, caption=WORDS)
        table.add_column(WORDS, footer=WORDS)
        table.add_row(WORDS)
        for out in (console(), console(stderr=True)):
            out.print(table)
            out.print(WORDS)
            out.print(WORDS, style="red", soft_wrap=True)
        return 0

    at.patch.setattr(info, "run", run)
    return at.run("info")


SHOW = {  # commands whose output has the words themselves
    unavailable, many, inspected, no_file, no_model, machine, audited, audited_nothing,
    unknown_option, warned, default_path, headed, calibrated, exported, exported_nothing,
    reported_other,
}  # fmt: skip
CASES = [
    one, one_as_json, many, unavailable, diagnosed, streamed, streamed_wrong, no_file, no_json,
    no_role, other_keys, inspected, inspected_as_json, inspected_damage, inspected_value, no_model,
    exported, exported_nothing, exported_strange_config, machine, calibrated_nothing,
    headed_nothing, calibrated, headed, default_path, default_exported, benched, bench_grown,
    audited, audited_nothing, audited_hash, audited_locked, reported, reported_other,
    reported_number, unknown_command, unknown_option, wrong_value, warned, printed,
]  # fmt: skip


@pytest.mark.parametrize("coloured", [False, True], ids=["plain", "coloured"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_no_command_lets_it_through(
    case: Callable[[Place], Ran], place: Place, coloured: bool
) -> None:
    if coloured:
        place.patch.setenv("FORCE_COLOR", "1")
        place.patch.setenv("COLUMNS", "2000")
    ran = case(place)
    assert ran.out or ran.err or case is reported
    harmless(ran.out, coloured=coloured)
    harmless(ran.err, coloured=coloured)
    if case in SHOW and not coloured:
        whole(ran.out + ran.err)


def test_the_look_finds_what_gets_through() -> None:
    for text in ("\x1b[5;7;35m", "\x1b]8;;x", "\u202e", "\x9b", "\ud800", "\u2028", "\0"):
        with pytest.raises(AssertionError):
            harmless(f"a{text}b", coloured=True)
    harmless("\x1b[1;31mred\x1b[0m\n", coloured=True)
    with pytest.raises(AssertionError):
        harmless("\x1b[1;31mred\x1b[0m\n")
    with pytest.raises(AssertionError):
        whole("[link=y]z")


def test_everything_goes_through_these_doors() -> None:
    """Nobody makes a console of their own, and who prints without one is known."""
    consoles, prints = set(), set()
    for room in ("src", "export", "train", "bench", "taxonomy", "runtime"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    if node.func.id == "Console":
                        consoles.add(name)
                    if node.func.id == "print":
                        prints.add(name)
    assert consoles == {"export/progress.py"}  # of tensors' names, which it escapes
    assert prints == {
        "src/stepguard/cli/__init__.py",  # one line of an error, escaped
        "src/stepguard/cli/default.py",  # the same
        "src/stepguard/cli/default_make.py",  # the command that it runs, escaped
        "src/stepguard/cli/moderate.py",  # a fixed note
        "src/stepguard/cli/serve.py",  # the same, and where it listens, escaped
        "src/stepguard/cli/screen.py",  # what it is at, escaped, and JSON
        "export/screen_python.py",  # commands that it runs, escaped
        "export/screen_job.py",  # pipes between processes
        "bench/cold_probe.py",  # pipes between processes of a measurement
        "bench/neighbour_probe.py",
    }


def test_the_bar_of_an_export_escapes(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from stepguard.export import progress_bar

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    with progress_bar() as report:
        report(WORDS, 1, 2)
    err = capsys.readouterr().err
    harmless(err, coloured=True)
    assert "[red]x[bold]" in err
