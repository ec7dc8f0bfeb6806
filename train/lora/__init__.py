"""LoRA adapters from labelled trajectories, on what a guard reads: verdicts and labels only.

Needs the packages of the extra `train`, PyTorch among them.
"""

from __future__ import annotations
