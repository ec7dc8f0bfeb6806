"""What a guard is worth on labelled trajectories, beside what shallow cues already give."""

from __future__ import annotations
