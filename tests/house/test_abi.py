"""The hand-declared slice of ONNX Runtime's C API against the official header.

`tests/data/ort_slots.tsv` was made once from the header of API version 21: table, place, name,
result and argument types of every function. It is compared with our declarations in every run;
where Debian's package of the header can be had (slow), the list is made again from it, and a
compiler compares both, the values of the enumerations included.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "cpp_kernels" / "ort" / "ort_abi_list.inc"
HEADER = LIST.with_name("ort_abi.h")
SLOTS = ROOT / "tests" / "data" / "ort_slots.tsv"
NAMELESS = {"const", "unsigned", "signed", "long"}
CHECK = """
#include <onnxruntime_c_api.h>
#include <cstddef>
#include <type_traits>
#include "ort_abi_list.inc"
template <typename A, typename B> constexpr bool same = std::is_same<A, B>::value;
#define CHECK(slot, name, result, arguments)                                                    \\
  static_assert(offsetof(OrtApi, name) == slot * sizeof(void*), "place of " #name);             \\
  static_assert(same<std::remove_const_t<decltype(OrtApi::name)>, result(*) arguments> ||       \\
                same<std::remove_const_t<decltype(OrtApi::name)>, result(*) arguments noexcept>, \\
                "signature of " #name);
STEPGUARD_ORT_FUNCTIONS(CHECK)
static_assert(sizeof(OrtCustomOp) == 26 * sizeof(void*), "OrtCustomOp");
"""

Functions = dict[int, tuple[str, str, str]]  # place -> name, result, argument types


def split(text: str) -> list[str]:
    """The parts between the commas of the outer level, brackets kept whole."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "(<") - (sign in ")>")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def plain_type(text: str) -> str:
    """A C type in one spelling, without the argument's name."""
    if pointer := re.fullmatch(r"(.+?)\(\s*\*\s*\w*\s*\)\s*\((.*)\)", text, re.DOTALL):
        return f"{plain_type(pointer[1])}(*)({plain_types(pointer[2])})"
    tokens = [word for word in re.findall(r"\w+|\*", text) if word not in ("struct", "enum")]
    if len(tokens) > 1 and tokens[-1] != "*" and tokens[-2] not in NAMELESS:
        tokens.pop()
    return " ".join(tokens).replace("OrtStatusPtr", "OrtStatus *").replace(" *", "*")


def plain_types(text: str) -> str:
    kinds = [plain_type(part) for part in split(text) if part]
    return "" if kinds == ["void"] else ", ".join(kinds)


def listed(text: str) -> Functions:
    """What our X-list says of OrtApi."""
    flat = re.sub(r"\\\n\s*", " ", re.sub(r"//[^\n]*", "", text))
    found: Functions = {}
    for start in re.finditer(r"X\(\s*(\d+)\s*,", flat):
        depth, end = 1, start.end()
        while depth:
            depth += (flat[end] == "(") - (flat[end] == ")")
            end += 1
        name, result, arguments = split(flat[start.end() : end - 1])
        found[int(start[1])] = (name, plain_type(result), plain_types(arguments[1:-1]))
    return found


def members(text: str, struct: str) -> Functions:
    """What a header says of a table: the members of the struct in their order."""
    body = text[text.index(f"struct {struct} {{") :]
    body = re.sub(r"//[^\n]*", "", body[body.index("{") + 1 : body.index("\n};")])
    found: Functions = {}
    for place, member in enumerate(part.strip() for part in body.split(";") if part.strip()):
        head = re.sub(r"\s*(noexcept|__attribute__\s*\(\(.*?\)\))", "", member, flags=re.DOTALL)
        match = re.fullmatch(r"(.+?)\(\s*\*\s*(?:const\s+)?(\w+)\s*\)\s*\((.*)\)", head, re.DOTALL)
        if match:
            found[place] = (match[2], plain_type(match[1]), plain_types(match[3]))
        else:
            kind, name = head.rsplit(maxsplit=1)
            found[place] = (name, kind, "")
    return found


def recorded(table: str) -> Functions:
    rows = [line.split("\t") for line in SLOTS.read_text().splitlines() if line[:1] != "#"]
    return {
        int(place): (name, result, plain_types(arguments))
        for kind, place, name, result, arguments in rows
        if kind == table
    }


def mismatches(ours: Functions, theirs: Functions) -> list[str]:
    wrong = {place: ours[place] for place in ours if theirs.get(place) != ours[place]}
    return [f"{place}: ours {got}, official {theirs.get(place)}" for place, got in wrong.items()]


def enum_checks(text: str) -> str:
    """A static_assert for every enumerator that our header declares."""
    lines = []
    for name, value in re.findall(r"\b(\w+) = (-?\d+)(?=[,\s}])", text):
        element = name.removeprefix("kOrt").upper().replace("ANY", "UNDEFINED")
        theirs = f"ONNX_TENSOR_ELEMENT_DATA_TYPE_{element}" if name[:4] == "kOrt" else name
        if name not in ("kOrtApiVersion", "version"):
            lines.append(f'static_assert(int({theirs}) == {value}, "value of {name}");')
    assert len(lines) > 10
    return "\n".join(lines)


def test_every_place_and_signature_is_the_official_one() -> None:
    ours = listed(LIST.read_text())
    assert len(ours) > 40
    assert mismatches(ours, recorded("OrtApi")) == []


def test_the_custom_op_has_the_official_fields() -> None:
    ours = members(HEADER.read_text(), "OrtCustomOp")
    theirs = recorded("OrtCustomOp")
    assert len(ours) == len(theirs) == 26
    theirs = {
        place: (name, result, arguments.replace("OrtApi*", "void*"))
        for place, (name, result, arguments) in theirs.items()
    }
    assert mismatches(ours, theirs) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("X(9, Run,", "X(8, Run,"),
        ("X(9, Run,", "X(9, Ran,"),
        ("(OrtLoggingLevel, const char*, OrtEnv**)", "(OrtLoggingLevel, char*, OrtEnv**)"),
    ],
)
def test_a_wrong_entry_is_found(before: str, after: str) -> None:
    text = LIST.read_text()
    assert before in text
    assert len(mismatches(listed(text.replace(before, after)), recorded("OrtApi"))) == 1


def debian_mirror() -> str:
    """The Debian archive that this machine uses; the test is skipped where there is none."""
    files = [*sorted(Path("/etc/apt").glob("sources.list*/*")), Path("/etc/apt/sources.list")]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    found = re.search(r"\bhttps?://\S+/debian/?(?=\s|$)", text)
    if found is None:
        pytest.skip("the official header cannot be had: no Debian archive among the apt sources")
    return found[0]


def header_folder(into: Path) -> Path:
    """Unpacks the header from Debian 13's libonnxruntime-dev, without touching the system."""
    tools = ("apt-get", "dpkg-deb", "g++")
    if absent := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"the official header cannot be unpacked: no {', '.join(absent)}")
    for folder in ("lists/partial", "cache/archives/partial", "download", "unpacked"):
        (into / folder).mkdir(parents=True)
    (into / "trixie.sources").write_text(
        f"Types: deb\nURIs: {debian_mirror()}\nSuites: trixie\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    options = {
        "APT::Sandbox::User": "root",
        "APT::Architecture": "amd64",
        "Dir::Etc::sourcelist": into / "trixie.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": into / "lists",
        "Dir::Cache": into / "cache",
    }
    apt = ["apt-get", *(f"-o{key}={value}" for key, value in options.items())]
    for words in (["update"], ["download", "libonnxruntime-dev"]):
        done = subprocess.run([*apt, *words], cwd=into / "download", capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the official header cannot be had: {done.stderr.strip()[-200:]}")
    (package,) = (into / "download").glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, into / "unpacked"], check=True)
    return into / "unpacked" / "usr" / "include" / "onnxruntime"


def compile_check(header: Path, list_folder: Path, source: str, *flags: str) -> tuple[int, str]:
    """g++ over `source` with both include folders: exit status, and what it printed."""
    command = ["g++", "-std=c++17", *flags, "-Wno-ignored-attributes", "-x", "c++", "-"]
    command += [f"-I{header}", f"-I{list_folder}"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_official_header_agrees(tmp_path: Path) -> None:
    header = header_folder(tmp_path)
    source = CHECK + enum_checks(HEADER.read_text())
    status, text = compile_check(header, LIST.parent, source, "-fsyntax-only")
    assert status == 0, text
    status, text = compile_check(header, LIST.parent, "#include <onnxruntime_c_api.h>", "-E", "-P")
    assert status == 0, text
    assert members(text, "OrtApi") == recorded("OrtApi")
    assert members(text, "OrtCustomOp") == recorded("OrtCustomOp")

    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / LIST.name).write_text(LIST.read_text().replace("X(9, Run,", "X(8, Run,"))
    status, text = compile_check(header, planted, source, "-fsyntax-only")
    assert status != 0
    assert "place of Run" in text
