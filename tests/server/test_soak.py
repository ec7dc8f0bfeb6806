"""`soak.py` for less than a minute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.server.soak import complaints, soak


@pytest.mark.slow
def test_many_clients_for_a_while(model: Path, tmp_path: Path) -> None:
    report = soak(model, 0.7, tmp_path)
    print(json.dumps(report))
    assert complaints(report) == []
    assert report["done"]["push"] > 100
