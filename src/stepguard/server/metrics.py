"""What a server counts, as Prometheus reads it. Nothing of any content is among it."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stepguard.guard import Guard
from stepguard.policy import Decision
from stepguard.taxonomy import Verdict

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """A registry of its own, so that two servers in one process do not mix."""

    def __init__(self, guard: Guard) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "stepguard_requests", "answers by status", ["status"], registry=self._registry
        )
        self._verdicts = Counter(
            "stepguard_verdicts", "verdicts given", ["status", "reason"], registry=self._registry
        )
        self._decisions = Counter(
            "stepguard_decisions", "what became of calls", ["outcome"], registry=self._registry
        )
        self._seconds = Histogram(
            "stepguard_verdict_seconds",
            "from the call to the verdict",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "stepguard_verdict_tokens", "tokens read for verdicts", registry=self._registry
        )
        self._peers = Counter(
            "stepguard_refused_connections",
            "connections of foreign users, or too many",
            registry=self._registry,
        )
        self.sessions = Gauge("stepguard_sessions", "open sessions", registry=self._registry)
        self.running = Gauge("stepguard_calls", "calls under way", registry=self._registry)
        self._registry.register(_Engine(guard))

    def verdict(self, verdict: Verdict) -> None:
        """Counts a verdict."""
        reason = "" if verdict.reason is None else verdict.reason.value
        self._verdicts.labels(verdict.status.value, reason).inc()
        self._seconds.observe(verdict.latency_ms / 1000)
        self._tokens.inc(verdict.tokens_read)

    def decision(self, decision: Decision) -> None:
        """Counts what becomes of a call, and its verdict."""
        self._decisions.labels(decision.outcome.value).inc()
        if decision.verdict is not None:
            self.verdict(decision.verdict)

    def answered(self, status: int) -> None:
        """Counts an answer."""
        self._requests.labels(str(status)).inc()

    def refused(self) -> None:
        """Counts a connection that was closed unheard."""
        self._peers.inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Engine(Collector):
    """The engine's own counters, read when they are asked for."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def collect(self) -> Iterable[Metric]:
        for name, value in sorted(self._guard.stats().items()):
            yield GaugeMetricFamily(f"stepguard_engine_{name}", f"engine: {name}", value=value)
