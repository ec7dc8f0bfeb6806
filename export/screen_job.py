"""Run by the Python of another environment, which has `optimum`: an encoder classifier to ONNX.

    python -I screen_job.py CHECKPOINT OUT REQUEST

A script, not a module of the package: it imports nothing of stepguard. REQUEST is JSON:
`{"window": tokens or null}`. It prints a line of JSON per stage (`{"stage": ...}`) and one with
what it found (`{"result": ...}`), or why it refused (`{"refused": [where, expected, got]}`).
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

# Those that tests export and compare; others number their positions or types in other ways.
KINDS = ("bert", "deberta-v2", "modernbert")
LIMIT = 512
PACKAGES = ("optimum", "optimum-onnx", "onnxruntime", "torch", "transformers")


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def refuse(where: str, expected: str, got: str) -> NoReturn:
    say(refused=[where, expected, got])
    raise SystemExit(3)


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What stands before and behind a text."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    ids = list(tokenizer("a")["input_ids"])
    for at in range(len(ids) - len(bare) + 1):
        if bare and ids[at : at + len(bare)] == bare:
            return ids[:at], ids[at + len(bare) :]
    refuse("tokenizer", "special tokens around a text", f"{ids} for {bare}")


def whole_window(config: Any, tokenizer: Any, wanted: int | None) -> int:
    """Most tokens of one run."""
    most = min(int(config.max_position_embeddings), int(tokenizer.model_max_length))
    if wanted is not None and wanted > most:
        refuse("window", f"at most the {most} tokens that the model reads", str(wanted))
    return wanted or min(most, LIMIT)


def largest_difference(checkpoint: str, out: Path, window: int, types: bool) -> float:
    """Between the logits of model.onnx and of PyTorch, at a short and at a whole window."""
    import numpy as np
    import onnxruntime
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, local_files_only=True)
    model = model.to(torch.float32).eval()
    session = onnxruntime.InferenceSession(
        str(out / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    drawn, found = np.random.default_rng(0), 0.0
    for length in (min(7, window), window):
        ids = drawn.integers(0, model.config.vocab_size, (1, length), dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if types:
            feed["token_type_ids"] = np.zeros_like(ids)
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(row) for name, row in feed.items()}).logits
        (logits,) = session.run(["logits"], feed)
        if not np.isfinite(logits).all():
            refuse("model.onnx", "finite logits", "others")
        found = max(found, float(np.abs(logits - expected.numpy()).max()))
    return found


def main(checkpoint: str, out: Path, request: dict[str, Any]) -> None:
    from transformers import AutoConfig, AutoTokenizer

    say(stage="reading the checkpoint")
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
    if config.model_type not in KINDS:
        refuse("config.json", f"an encoder of the kinds {', '.join(KINDS)}", config.model_type)
    names = list(config.architectures or [])
    if not any(name.endswith("ForSequenceClassification") for name in names):
        refuse("config.json", "a classifier of whole texts", ", ".join(names) or "no architecture")
    if config.num_labels < 2 or config.problem_type == "multi_label_classification":
        got = f"{config.num_labels} labels, {config.problem_type}"
        refuse("config.json", "two or more labels, of which one holds", got)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, use_fast=True, local_files_only=True)
    if not tokenizer.is_fast:
        refuse("tokenizer", "one that the library tokenizers can run", type(tokenizer).__name__)
    window = whole_window(config, tokenizer, request["window"])
    begin, end = special_ids(tokenizer)
    import onnx
    from optimum.exporters.onnx import main_export

    say(stage="turning it into ONNX")
    main_export(
        checkpoint, output=out, task="text-classification", device="cpu", local_files_only=True
    )
    tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))
    say(stage="comparing it with PyTorch")
    graph = onnx.load(str(out / "model.onnx"), load_external_data=False).graph
    types = "token_type_ids" in [port.name for port in graph.input]
    say(
        result={
            "architecture": config.model_type,
            "labels": [str(config.id2label[index]) for index in range(config.num_labels)],
            "window": window,
            "begin": begin,
            "end": end,
            "vocabulary": int(config.vocab_size),
            "difference": largest_difference(checkpoint, out, window, types),
            "packages": {name: metadata.version(name) for name in PACKAGES},
        }
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
