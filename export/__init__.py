"""Export: from a checkpoint (safetensors or GGUF) to a model directory, block by block."""

from __future__ import annotations

from .arena import check_arena_order
from .exporter import export_checkpoint, export_model
from .progress import progress_bar

__all__ = ["check_arena_order", "export_checkpoint", "export_model", "progress_bar"]
