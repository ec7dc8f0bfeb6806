"""What one step verdict costs, beside other engines with the same weights, in the same run."""

from __future__ import annotations

from stepguard.bench.latency.measure import Case, measure
from stepguard.bench.latency.peer import PEERS, Peer
from stepguard.bench.latency.remote import Remote

__all__ = ["PEERS", "Case", "Peer", "Remote", "measure"]
