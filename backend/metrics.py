"""What the backend counts, in the form that Prometheus reads."""

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STAGES: Final = (
    "speak", "decode", "track", "prepare", "render", "enhance", "compose", "encode", "finish",
)  # fmt: skip
_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """One app's figures. Labels are words of ours: never an id, an address, or what a host sent."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.jobs = Gauge(
            "lipsync_jobs", "Jobs by state; the queued ones are the queue.", ["state"],
            registry=self._registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "lipsync_stage_seconds", "Seconds that a stage of an ended job took.", ["stage"],
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self.failed = Counter(
            "lipsync_jobs_failed", "Jobs that failed, by the error's code.", ["code"],
            registry=self._registry,
        )  # fmt: skip
        self.upload_bytes = Counter(
            "lipsync_upload_bytes", "Bytes of faces and recordings of accepted jobs.",
            registry=self._registry,
        )  # fmt: skip
        self.listeners = Gauge(
            "lipsync_listeners", "Who follows events, watches a stream, has a socket open.",
            ["what"], registry=self._registry,
        )  # fmt: skip
        self.gpu_hosts = Gauge(
            "lipsync_gpu_hosts", "GPU hosts by whether they answer.", ["state"],
            registry=self._registry,
        )  # fmt: skip

    def ended(self, stage_seconds: Mapping[str, float], error: Mapping[str, Any] | None) -> None:
        """A job has ended."""
        for stage, seconds in stage_seconds.items():
            # Most names come from the GPU host, whatever that is.
            self.stage_seconds.labels(stage if stage in STAGES else "other").observe(seconds)
        if error is not None:
            self.failed.labels(error["code"]).inc()

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
