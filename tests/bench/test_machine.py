"""What is said of the machine."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path

from stepguard.bench.machine import Machine, cpu_name, describe_machine
from stepguard.runtime import Engine

MACHINE = Machine(
    cpu="Some CPU",
    cores=4,
    memory_gib=16.0,
    system="Linux 6.1",
    python="3.11.2",
    stepguard="0.1.0",
    onnxruntime="1.32.0",
    isa="avx2",
    threads=3,
    kv="fp16",
    activations="int8",
    load=0.5,
)


def test_the_lines_say_everything() -> None:
    text = "\n".join(MACHINE.lines())
    for value in MACHINE.to_dict().values():
        assert str(value) in text


def test_a_busy_machine_is_called_busy() -> None:
    assert not MACHINE.busy
    assert dataclasses.replace(MACHINE, load=2.5).busy


def test_the_name_of_the_processor(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Some: CPU \nflags\t: fpu\n")
    assert cpu_name(file) == "Some: CPU"
    file.write_text("Hardware : other\n")
    assert cpu_name(file) == platform.machine()
    assert cpu_name(tmp_path / "absent") == platform.machine()


def test_this_machine(tiny_guards: dict[str, Path]) -> None:
    engine = Engine(tiny_guards["int8"], threads=1, isa="generic", memory=8 << 20)
    try:
        machine = describe_machine(engine)
    finally:
        engine.close()
    assert (machine.isa, machine.threads, machine.kv) == ("generic", 1, "fp16")
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.onnxruntime[:2] == "1."
