"""Prometheus metrics; each app has its own registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from teacher_server.inference.model_info import Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How many observations lie in each range: its upper bound (`inf` for the last) and count."""

    ranges: tuple[tuple[float, int], ...]

    @property
    def count(self) -> int:
        return sum(count for _, count in self.ranges)

    def bound(self, share: float) -> float:
        """The upper bound of the range that holds this share of the observations; 0 for none."""
        seen = 0
        for bound, count in self.ranges:
            seen += count
            if count and seen >= share * self.count:
                return bound
        return 0.0


class Metrics:
    """The vendor's metrics. Labels are routes, statuses and codes, never keys or inputs."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "teacher_requests",
            "Requests answered",
            ["method", "route", "status", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "teacher_request_seconds",
            "Seconds from request to answer",
            ["route"],
            registry=self._registry,
        )
        self._units = Counter(
            "teacher_billed_units", "Queries charged", ["modality"], registry=self._registry
        )
        self._replays = Counter(
            "teacher_replays", "Stored answers sent again, free of charge", registry=self._registry
        )
        self._voided = Counter(
            "teacher_voided_reservations", "Reservations voided", registry=self._registry
        )
        self._purged = Counter(
            "teacher_purged_answers",
            "Stored answers purged because of their age",
            registry=self._registry,
        )
        self._alerts = Counter(
            "teacher_alerts_delivered",
            "Budget alerts that the webhook accepted",
            registry=self._registry,
        )
        self._batch_size = Histogram(
            "teacher_batch_items",
            "Items per batch that the model ran",
            ["modality"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "teacher_batch_seconds",
            "Seconds per batch in the model",
            ["modality"],
            registry=self._registry,
        )
        self._depth = Gauge("teacher_queue_items", "Items waiting", registry=self._registry)
        self._heartbeat = Gauge(
            "teacher_worker_silence_seconds",
            "Seconds since the worker's last heartbeat",
            registry=self._registry,
        )

    def answered(self, *, method: str, route: str, status: int, code: str, seconds: float) -> None:
        """Count one answer; `route` is the template, so that labels stay few."""
        self._requests.labels(method, route, str(status), code).inc()
        self._seconds.labels(route).observe(seconds)

    def billed(self, *, images: int, texts: int) -> None:
        """Count the queries of a charge."""
        self._units.labels("image").inc(images)
        self._units.labels("text").inc(texts)

    def replayed(self) -> None:
        """Count a stored answer that was sent again."""
        self._replays.inc()

    def voided(self) -> None:
        """Count a voided reservation."""
        self._voided.inc()

    def purged(self, answers: int) -> None:
        """Count purged answers."""
        self._purged.inc(answers)

    def alerted(self, alerts: int) -> None:
        """Count delivered budget alerts."""
        self._alerts.inc(alerts)

    def batch(self, modality: Modality, size: int, seconds: float) -> None:
        """Count a batch that the model ran."""
        self._batch_size.labels(modality).observe(size)
        self._batch_seconds.labels(modality).observe(seconds)

    def distribution(
        self, of: Literal["batch_items", "request_seconds"], label: str
    ) -> Distribution:
        """What was observed since the start: the items per batch of one modality, or the seconds
        per request of one route."""
        histogram = self._batch_size if of == "batch_items" else self._seconds
        upto = [
            (float(sample.labels["le"]), int(sample.value))
            for metric in histogram.collect()
            for sample in metric.samples
            if sample.name.endswith("_bucket") and label in sample.labels.values()
        ]
        before = [0, *(count for _, count in upto)]
        return Distribution(
            ranges=tuple(
                (bound, count - less) for (bound, count), less in zip(upto, before, strict=False)
            )
        )

    def page(self, *, depth: int, seconds_since_heartbeat: float) -> bytes:
        """The metrics in Prometheus' text format, with the current state of the queue."""
        self._depth.set(depth)
        self._heartbeat.set(seconds_since_heartbeat)
        return generate_latest(self._registry)
