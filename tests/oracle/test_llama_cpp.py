"""llama.cpp's own reading of a Qwen3.5 file beside ours.

Runs where the package llama-cpp-python is installed, in a version that knows the architecture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers.models.qwen3_5")
llama_cpp = pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python builds it")

from stepguard.export import export_model  # noqa: E402
from stepguard.export.value_heads import ValueHeads  # noqa: E402
from tests.export.qwen35_gguf import write_qwen35  # noqa: E402
from tests.oracle.checkpoints import Case, write_checkpoint  # noqa: E402
from tests.oracle.comparison import (  # noqa: E402
    ISAS,
    PLAIN_SIGHT,
    ROWS,
    TEXT,
    TOLERANCE,
    Floats,
    error,
    ours,
)
from tests.oracle.test_hybrid import BORDERS, heads, hybrid  # noqa: E402
from tests.oracle.test_hybrid_gguf import BLOCKS  # noqa: E402

# It wants keys and values of one size. Only float32 files compare: it rounds what others read.
CASES = [
    hybrid("llama-one-to-three", "ddda", 30, **BLOCKS | heads(2, 6, 32, 32)),
    hybrid(
        "llama-one-to-one", "dada", 31, tie_word_embeddings=True, **BLOCKS | heads(3, 3, 64, 64)
    ),
]


def llama_logits(file: Path) -> Floats:
    """The logits [borders, rows] of llama.cpp, read at once, on pages of float32."""
    single = llama_cpp.GGML_TYPE_F32
    options = {"n_ctx": 256, "n_batch": 256, "n_threads": 1, "type_k": single, "type_v": single}
    model = llama_cpp.Llama(str(file), logits_all=True, verbose=False, **options)
    try:
        model.eval(TEXT.tolist())
        logits: Floats = np.array(model.scores[: len(TEXT)], np.float32)
    finally:
        model.close()
    return logits[np.array(BORDERS) - 1][:, ROWS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_are_those_of_llama_cpp(
    tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", case)
    file = write_qwen35(tmp_path / "m.gguf", checkpoint)
    expected = llama_logits(file)
    export_model(file, tmp_path / "o", quant="float32", template="short")
    assert error(ours(tmp_path / "o", ISAS[0], BORDERS), expected) < TOLERANCE
    if case is CASES[0]:  # several value heads share a key head
        monkeypatch.setattr(ValueHeads, "stored", lambda self, begin, end: np.arange(begin, end))
        export_model(file, tmp_path / "p", quant="float32", template="short")
        assert error(ours(tmp_path / "p", ISAS[0], BORDERS), expected) > PLAIN_SIGHT
