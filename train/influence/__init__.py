"""Which training records do harm: how the loss on other records would change without them.

A harm is a number for each record, larger for one whose removal lowers the targets' loss more; only
the order of the harms of one method means something.
"""

from __future__ import annotations

from typing import Literal

By = Literal["preference", "exact", "datainf", "loss"]
METHODS: tuple[By, ...] = ("preference", "exact", "datainf", "loss")  # the first is the usual one
