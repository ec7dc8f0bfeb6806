"""What the frozen layers give, computed once and kept on disk.

A row is computed when it is first asked for, added to the file, and only then listed in the index:
what a killed run left unlisted is written again. The value that is used is always the one that was
rounded to be kept, so that the first pass over the data and later ones see the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from stepguard.train.lora.rows import Row
from stepguard.train.lora.tower import Tower

_KINDS = {"bf16": torch.bfloat16, "fp32": torch.float32}
_BYTES = {"bf16": 2, "fp32": 4}


class Lower:
    """The rows before layer `layers`, for one model. folder: where they are kept, or None."""

    def __init__(self, tower: Tower, layers: int, model: str, folder: Path | None) -> None:
        self._tower, self._layers = tower, layers
        self._kind = _KINDS[tower.precision]
        self._size = _BYTES[tower.precision] * tower.hidden
        self._places: dict[str, int] = {}
        self._lock = Lock()  # records may be read side by side
        self._end, self._folder = 0, folder if layers else None
        if self._folder is None:
            return
        key = f"{model} {layers} {tower.precision}"
        stem = f"lower-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file, self._index = self._folder / f"{stem}.bin", self._folder / f"{stem}.jsonl"
        self._open()

    @property
    def kept(self) -> int:
        """How many rows are there."""
        return len(self._places)

    def get(self, row: Row) -> Tensor:
        """float32 [n, hidden]."""
        if self._layers == 0:
            return self._tower.embed(row)
        name = row.sha256
        if name in self._places:
            return self._read(name, len(row.ids))
        with torch.no_grad():
            hidden = self._tower.run(self._tower.embed(row), row, 0, self._layers)
        rounded = hidden.to(self._kind)
        if self._folder is not None:
            with self._lock:
                self._add(name, rounded)
        return rounded.float()

    def _open(self) -> None:
        self._file.touch()
        size, lines = self._file.stat().st_size, []
        for line in self._index.read_text().split("\n")[:-1] if self._index.exists() else ():
            entry = json.loads(line)
            end = entry["at"] + entry["tokens"] * self._size
            if end <= size:  # else the machine stopped before all of it was on the disk
                self._places[entry["row"]] = entry["at"]
                self._end = max(self._end, end)
                lines.append(line + "\n")
        # Written anew, without a line that was cut off.
        beside = self._index.with_suffix(f".{os.getpid()}")
        beside.write_text("".join(lines))
        beside.replace(self._index)

    def _add(self, name: str, rows: Tensor) -> None:
        data = rows.contiguous().view(torch.uint8).numpy().tobytes()
        with self._file.open("r+b") as file:
            file.seek(self._end)
            file.write(data)
            file.flush()
        entry = {"row": name, "at": self._end, "tokens": len(rows)}
        with self._index.open("a") as index:
            index.write(json.dumps(entry) + "\n")
        self._places[name] = self._end
        self._end += len(data)

    def _read(self, name: str, tokens: int) -> Tensor:
        with self._file.open("rb") as file:
            file.seek(self._places[name])
            data = np.fromfile(file, np.uint8, tokens * self._size)
        return torch.from_numpy(data).view(self._kind).view(tokens, self._tower.hidden).float()
