"""From labelled trajectories to what a guard is told about its own scores.

Renders with the very code of inference. Needs the packages of the extra `train`.
"""

from __future__ import annotations

from stepguard.train.records import Record, read_records

__all__ = ["Record", "read_records"]
