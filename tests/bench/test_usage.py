"""What a command is told wrongly is said before anything is made or measured, and in words."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from stepguard.bench import run_kernels
from stepguard.bench.arguments import check_table
from stepguard.bench.outputs import output_file, picture_file
from stepguard.bench.shapes import GUARDS
from stepguard.cli import main
from stepguard.errors import StepguardError
from stepguard.runtime import isa_tables

pytestmark = pytest.mark.usefixtures("tiny")

TABLES = [table.name for table in isa_tables()]
LATENCY = ("latency", "--shape", "tiny", "--peers", "none")
PREFILL = ("prefill", "--shape", "tiny", "--peers", "none")
SIZES = ("sizes", "--shapes", "tiny")
WITH_FILES = {
    "latency": LATENCY,
    "prefill": PREFILL,
    "throughput": ("throughput", "MODEL"),
    "cold": ("cold", "MODEL"),
    "kernels": ("kernels", "--shape", "tiny"),
    "memory": ("memory", "MODEL"),
    "sizes": SIZES,
    "growth": ("growth", "MODEL"),
    "neighbours": ("neighbours", "MODEL"),
    "quality": ("quality", "MODEL", "DATA"),
    "pairs": ("pairs", "MODEL", "DATA"),
    "fidelity": ("fidelity", "MODEL", "MODEL", "--data", "DATA"),
    "shapes": ("shapes", "--shape", "tiny"),
}
PICTURES = ("latency", "prefill", "throughput", "sizes", "growth", "cold", "memory", "kernels",
            "quality")  # fmt: skip


@pytest.fixture
def refused(tiny_guards: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """What is said of wrong usage."""
    places = {"MODEL": str(tiny_guards["int8"]), "DATA": str(data)}

    def ask(*words: object) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["bench", *(places.get(str(word), str(word)) for word in words)])
        assert stop.value.code == 2
        return capsys.readouterr().err

    return ask


@pytest.mark.parametrize("command", WITH_FILES)
def test_a_file_that_cannot_be_written(command: str, refused: Any, tmp_path: Path) -> None:
    words = WITH_FILES[command]
    lost = tmp_path / "no folder" / "j.json"
    assert "a folder that is there" in refused(*words, "--json", lost)
    assert f"got the folder {tmp_path}" in refused(*words, "--json", tmp_path)
    assert "an empty name" in refused(*words, "--json", "")
    assert not lost.parent.exists()


@pytest.mark.parametrize("command", PICTURES)
def test_a_picture_that_cannot_be_drawn(command: str, refused: Any, tmp_path: Path) -> None:
    words = WITH_FILES[command]
    for name in ("p.pdf", "p", "png"):
        assert "ends in .png or .svg" in refused(*words, "--plot", tmp_path / name)
    assert "a folder that is there" in refused(*words, "--plot", tmp_path / "no" / "p.png")


def test_files_and_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.svg").write_text("of the last time")
    assert output_file("new.json") == Path("new.json")
    assert output_file("/dev/null") == Path("/dev/null")
    assert picture_file("there.svg") == Path("there.svg")
    for wrong in ("a/", "there.svg/x.json", "x" * 300, "new.json/"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"x|expected a file"):
            output_file(wrong)
    monkeypatch.setattr("os.access", lambda *_: False)
    for name in ("new.json", "there.svg"):
        with pytest.raises(argparse.ArgumentTypeError, match="may be written"):
            output_file(name)
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((*LATENCY, "--new", "0"), "--new: expected a whole number from 1 up, got '0'"),
        ((*LATENCY, "--new", "4,x"), "expected a whole number from 1 up, got 'x'"),
        ((*LATENCY, "--repeats", "0"), "expected a whole number from 1 up, got '0'"),
        ((*LATENCY, "--usual", "nan"), "expected a whole number from 0 up, got 'nan'"),
        ((*LATENCY, "--usual"), "--usual: there are no peers that it could time"),
        ((*LATENCY, "--question", "x"), "or one of unified, binary, coarse, got 'x'"),
        ((*LATENCY, "--threads", "100000"), "expected a whole number from 1 to 1024"),
        (("latency", "--shape", "tiny", "--peers", "genai,"), "got an empty name"),
        (("kernels", "--threads", "100000"), "expected a whole number from 1 to 1024"),
        (("kernels", "--seconds", "-1"), "expected seconds from 0 to 86,400, got '-1'"),
        (("kernels", "--seconds", "nan"), "expected seconds from 0 to 86,400, got 'nan'"),
        (("neighbours", "MODEL", "--idle", "nan"), "expected seconds from 0"),
        (("neighbours", "MODEL", "--idle", "inf"), "expected seconds from 0"),
        (("growth", "MODEL", "--seed", "-1"), "expected a whole number from 0 up, got '-1'"),
        (("fidelity", "MODEL", "MODEL", "--data", "DATA", "--seed", "-1"), "from 0 up"),
        (("quality", "MODEL", "DATA", "--split", "6/5"), "a part of several, like 1/5, got '6/5'"),
        (("growth", "--json", "MODEL"), "put --json behind all else"),
    ],
)
def test_what_was_expected(words: tuple[str, ...], text: str, refused: Any) -> None:
    said = refused(*words)
    assert text in " ".join(said.split())
    assert "invalid" not in said


@pytest.mark.parametrize(
    "command", ["growth", "latency", "prefill", "throughput", "sizes", "kernels"]
)
def test_bfloat16_without_tiles(
    command: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "amx" in TABLES:
        monkeypatch.setenv("STEPGUARD_ISA", "avx2")
    said = refused(*WITH_FILES[command], "--activations", "bf16")
    assert "--activations bf16: needs the table amx" in said


def test_bfloat16_on_a_gpu(refused: Any) -> None:
    said = refused(*LATENCY, "--activations", "bf16", "--device", "cuda")
    assert "--activations bf16: needs the table amx, this is a GPU" in said


def test_an_option_that_is_not_for_the_model(
    tiny_guards: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["growth"], ["throughput", "--context", "40", "--beside", "0"]):
        words = ["bench", *command, str(tiny_guards["float32"]), "--activations", "int8"]
        assert main(words) == 1
        assert "'int8' needs int4 or int8 weights" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["bench", "kernels", "--quant", "float32", "--activations", "int8"])
    assert "'int8' needs int4 or int8 weights" in capsys.readouterr().err


@pytest.mark.parametrize("words", [LATENCY, PREFILL, SIZES, ("throughput", "--shape", "tiny"),
                                   ("cold", "--shape", "tiny")])  # fmt: skip
def test_a_table_that_is_not_there(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STEPGUARD_ISA", "z80")
    work = tmp_path / "work"
    assert main(["bench", *words, "--work", str(work)]) == 1
    said = capsys.readouterr().err
    assert "RuntimeMissingError: the environment variable STEPGUARD_ISA" in said
    assert not work.exists()
    with pytest.raises(StepguardError, match="z80"):
        check_table(argparse.Namespace())


def test_a_table_that_is_not_there_and_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEPGUARD_ISA", "z80")
    for command in ("memory", "shapes"):
        assert main(["bench", command, "--shape", "tiny", "--work", str(tmp_path)]) == 1
        assert "STEPGUARD_ISA" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("STEPGUARD_ISA")
    assert main(["bench", "cold", "--shape", "tiny", "--isa", "z80"]) == 1
    assert "isa: expected one of" in capsys.readouterr().err


def test_kernels_take_the_table_that_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "j.json"
    words = ["bench", "kernels", "--shape", "tiny", "--rows", "1", "--ops", "mlp.norm"]
    words += ["--seconds", "0", "--threads", "1", "--json", str(file)]
    monkeypatch.setenv("STEPGUARD_ISA", "generic")
    assert main(words) == 0
    report = json.loads(file.read_text())
    assert report["machine"]["isa"] == "generic"
    assert [case["name"].endswith("generic") for case in report["cases"]] == [True]
    # What is asked for on the line is stronger.
    assert run_kernels._tables(argparse.Namespace(isa=TABLES)) == TABLES
    monkeypatch.delenv("STEPGUARD_ISA")
    every = run_kernels._tables(argparse.Namespace(isa=None))
    assert every == ([name for name in TABLES if name != "generic"] or ["generic"])


@pytest.mark.parametrize(
    "words",
    [
        (*LATENCY, "--context", "CONTEXT"),
        (*LATENCY, "--prefill", "MORE"),
        (*PREFILL, "--tokens", "8,MORE"),
        (*SIZES, "--context", "CONTEXT"),
        ("memory", "--shape", "tiny", "--context", "MORE"),
        ("cold", "--shape", "tiny", "--new", "MORE"),
    ],
)
def test_more_than_a_model_reads(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = GUARDS["tiny"].shape.context
    places = {"CONTEXT": str(context), "MORE": str(context + 1), "8,MORE": f"8,{context + 1}"}
    work = ["--work", str(tmp_path)]
    assert main(["bench", *(places.get(word, word) for word in words), *work]) == 1
    said = capsys.readouterr().err
    assert f"small smollm2-135m: expected at most {context:,} tokens" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_company_that_is_too_long(refused: Any, tmp_path: Path) -> None:
    words = ("throughput", "--shape", "tiny", "--context", "1000000", "--work", tmp_path / "w")
    assert "the model's context is" in refused(*words)
    assert not (tmp_path / "w").exists()


def test_an_unknown_shape_is_told_by_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    for option, command in (("--shapes", "sizes"), ("--shape", "latency")):
        assert main(["bench", command, option, "gpt-9"]) == 1
        assert f"StepguardError: {option}: expected one of" in capsys.readouterr().err
