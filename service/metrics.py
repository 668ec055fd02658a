"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.agreement import Report


class Metrics:
    """Counters of one app, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "minsheng_requests", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram("minsheng_request_seconds", "Time to answer", ["route"], registry=self.registry)
        self.items = Counter("minsheng_items", "Classified items", ["theme", "decision"], registry=self.registry)
        self.failed = Counter("minsheng_failed_items", "Items refused", ["type"], registry=self.registry)
        self.stored = Gauge("minsheng_submissions", "Stored submissions", registry=self.registry)
        self.agreed = Gauge("minsheng_agreement_ratio", "Proposals people kept", ["of"], registry=self.registry)
        self.review = Gauge("minsheng_review_ratio", "Share for review, latest month", registry=self.registry)
        self.drifted = Gauge("minsheng_drift", "1 where that share has left its band", registry=self.registry)
        self.unknown = Gauge(
            "minsheng_unknown_words_ratio", "Share of words the model does not know, latest month",
            registry=self.registry,
        )  # fmt: skip
        self.unknown_drifted = Gauge(
            "minsheng_unknown_words_drift", "1 where that share has left its band", registry=self.registry
        )

    def follow(self, found: Report) -> None:
        """Tell what people kept, and the shares of the latest month."""
        whole = found.rows()[:1]
        for of in ("themes", "units"):
            if whole and whole[0][of]["share"] is not None:
                self.agreed.labels(of).set(whole[0][of]["share"])
        of_review, of_words = (self.review, self.drifted), (self.unknown, self.unknown_drifted)
        for (share, drifted), months in ((of_review, found.review), (of_words, found.unknown_words)):
            if months:
                share.set(months[-1].share)
                drifted.set(months[-1].outside)
