"""The server's own figures: counters, gauges and histograms, as Prometheus text and as samples."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

from modelkeep.core.series import NAME, Labels, labels
from modelkeep.core.shapes import Json

KINDS: Final[dict[str, Literal["counter", "gauge", "histogram"]]] = {
    "modelkeep_up_seconds": "gauge",
    "modelkeep_ingest_requests_total": "counter",
    "modelkeep_ingest_rows_total": "counter",
    "modelkeep_ingest_bytes_total": "counter",
    "modelkeep_ingest_repeated_total": "counter",
    "modelkeep_ingest_refused_total": "counter",
    "modelkeep_ingest_waiting": "gauge",
    "modelkeep_ingest_open": "gauge",
    "modelkeep_ingest_seconds": "histogram",
    "modelkeep_sdk_dropped_total": "counter",
    "modelkeep_denied_total": "counter",
    "modelkeep_errors_total": "counter",
    "modelkeep_query_seconds": "histogram",
    "modelkeep_query_waiting": "gauge",
    "modelkeep_journal_bytes": "gauge",
    "modelkeep_journal_segments": "gauge",
    "modelkeep_journal_entries_total": "counter",
    "modelkeep_journal_fsyncs_total": "counter",
    "modelkeep_journal_cut_bytes": "gauge",
    "modelkeep_reader_lag_entries": "gauge",
    "modelkeep_reader_failed": "gauge",
    "modelkeep_reader_failures_total": "counter",
    "modelkeep_reader_quarantined_total": "counter",
    "modelkeep_round_failures_total": "counter",
    "modelkeep_round_seconds_total": "counter",
    "modelkeep_series": "gauge",
    "modelkeep_samples_refused_total": "counter",
    "modelkeep_disk_free_bytes": "gauge",
    "modelkeep_disk_used_bytes": "gauge",
    "modelkeep_outbox_waiting": "gauge",
    "modelkeep_outbox_dead": "gauge",
    "modelkeep_alerts_pending": "gauge",
    "modelkeep_alerts_firing": "gauge",
    "modelkeep_alert_transitions_total": "counter",
    "modelkeep_rule_failures_total": "counter",
    "modelkeep_clock_seconds": "gauge",
    "modelkeep_quality_records_total": "counter",
    "modelkeep_configuration_changes_total": "counter",
    "modelkeep_kv_waiting": "gauge",
    "modelkeep_webhooks_total": "counter",
    "modelkeep_live_connections": "gauge",
    "modelkeep_live_messages_total": "counter",
}
"""What each figure is."""

HELP: Final[dict[str, str]] = {
    "modelkeep_up_seconds": "Seconds since the server started.",
    "modelkeep_ingest_requests_total": "Requests whose records are on disk, by path.",
    "modelkeep_ingest_rows_total": "Rows on disk, by kind.",
    "modelkeep_ingest_bytes_total": "Bytes of ingest bodies as sent, by path.",
    "modelkeep_ingest_repeated_total": "Requests whose token was kept before and that changed nothing.",
    "modelkeep_ingest_refused_total": "Ingest requests refused, by the error's name.",
    "modelkeep_ingest_waiting": "Ingest requests in work now.",
    "modelkeep_ingest_open": "1 while records are taken, 0 while ingest is closed (disk floor, stopping).",
    "modelkeep_ingest_seconds": "Time from the first byte of an ingest request to its acknowledgement.",
    "modelkeep_sdk_dropped_total": "Records that SDKs dropped before they reached the server, by reason.",
    "modelkeep_denied_total": "Requests refused for want of a token or scope, a foreign Host or Origin, by reason.",
    "modelkeep_errors_total": "Requests that ended in an unexpected error.",
    "modelkeep_query_seconds": "Time that questions took, by room.",
    "modelkeep_query_waiting": "Questions in work or waiting now.",
    "modelkeep_journal_bytes": "Size of the journal on disk.",
    "modelkeep_journal_segments": "Files of the journal.",
    "modelkeep_journal_entries_total": "Entries ever written to the journal.",
    "modelkeep_journal_fsyncs_total": "Times that the journal made a group durable.",
    "modelkeep_journal_cut_bytes": "Bytes of an unfinished entry that the last start cut off.",
    "modelkeep_reader_lag_entries": "Journal entries that a reader has not applied yet, by reader.",
    "modelkeep_reader_failed": "1 while a reader cannot apply or seal, by reader.",
    "modelkeep_reader_failures_total": "Times that a reader failed to apply or seal, by reader.",
    "modelkeep_reader_quarantined_total": "Entries that a reader could not take and that were set aside, by reader.",
    "modelkeep_round_failures_total": "Failures of recurring work, by its name.",
    "modelkeep_round_seconds_total": "Time spent in recurring work, by its name.",
    "modelkeep_series": "Different series kept.",
    "modelkeep_samples_refused_total": "Samples that the series engine refused, by reason.",
    "modelkeep_disk_free_bytes": "Free space on the disk of the data folder.",
    "modelkeep_disk_used_bytes": "Size of the data folder.",
    "modelkeep_outbox_waiting": "Notifications that wait to be sent.",
    "modelkeep_outbox_dead": "Notifications given up.",
    "modelkeep_alerts_pending": "Alerts whose condition holds, but not long enough yet.",
    "modelkeep_alerts_firing": "Alerts that fire, acknowledged ones included.",
    "modelkeep_rule_failures_total": "Evaluations of rules that failed.",
    "modelkeep_alert_transitions_total": "Changes of alert states since the start.",
    "modelkeep_clock_seconds": "The active clock, unix seconds: wall time or the newest prediction.",
    "modelkeep_configuration_changes_total": "Changes of configuration that processes told, by state.",
    "modelkeep_kv_waiting": "Blocking queries of the key-value store that wait now.",
    "modelkeep_webhooks_total": "Webhook messages by source and result: kept, repeated, ignored, refused, unreadable.",
    "modelkeep_live_connections": "Pages that are connected now.",
    "modelkeep_live_messages_total": "Messages pushed to pages.",
    "modelkeep_quality_records_total": "What the quality room counted, by what it was.",
}
"""What each figure says; the page docs/reference/series.md is made from it."""

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms' buckets, seconds."""

Value = tuple[Labels, float]
Reading = Callable[[], Sequence[tuple[str, Mapping[str, str], float]]]


class Own:
    """All own figures of one server; safe from many threads.

    >>> own = Own()
    >>> own.add("modelkeep_ingest_rows_total", 3, kind="event")
    >>> own.add("modelkeep_ingest_rows_total", 2, kind="event")
    >>> print(own.text())
    # HELP modelkeep_ingest_rows_total Rows on disk, by kind.
    # TYPE modelkeep_ingest_rows_total counter
    modelkeep_ingest_rows_total{kind="event"} 5.0
    <BLANKLINE>
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}
        self._buckets: dict[tuple[str, Labels], list[int]] = {}
        self._readings: list[Reading] = []

    def add(self, name: str, amount: float = 1, **pairs: str) -> None:
        """Adds to a counter."""
        with self._lock:
            found = self._values.setdefault(name, {})
            key = labels(pairs)
            found[key] = found.get(key, 0.0) + amount

    def put(self, name: str, value: float, **pairs: str) -> None:
        """Sets a gauge, or a counter that is counted elsewhere."""
        with self._lock:
            self._values.setdefault(name, {})[labels(pairs)] = float(value)

    def time(self, name: str, seconds: float, **pairs: str) -> None:
        """Adds one duration to a histogram."""
        key = (name, labels(pairs))
        with self._lock:
            counts = self._buckets.setdefault(key, [0] * (len(BOUNDS) + 1))
            counts[bisect_left(BOUNDS, seconds)] += 1
            sums = self._values.setdefault(name, {})
            sums[key[1]] = sums.get(key[1], 0.0) + seconds

    def read(self, reading: Reading) -> None:
        """Adds figures that are looked up whenever somebody asks: (name, labels, value) each."""
        self._readings.append(reading)

    def look(self) -> None:
        """Looks all read figures up."""
        for reading in self._readings:
            for name, pairs, value in reading():
                self.put(name, value, **pairs)

    def samples(self) -> list[Value]:
        """Gives every figure as a series with its name under `__name__`, histograms as Prometheus lays them out."""
        with self._lock:
            return list(self._flat())

    def totals(self, prefix: str) -> dict[str, Json]:
        """Gives the sum of every counter and gauge whose name begins so, over all its labels."""
        with self._lock:
            found = {name: values for name, values in self._values.items() if name.startswith(prefix)}
            return {name: sum(values.values()) for name, values in found.items() if KINDS[name] != "histogram"}

    def text(self) -> str:
        """Gives all figures in Prometheus' text format.

        Source: https://prometheus.io/docs/instrumenting/exposition_formats/
        """
        lines: list[str] = []
        family = ""
        for pairs, value in self.samples():
            name = pairs[0][1]
            if (found := _family(name)) != family:
                family = found
                lines += [f"# HELP {family} {HELP[family]}", f"# TYPE {family} {KINDS[family]}"]
            inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in pairs[1:])
            lines.append(f"{name}{{{inner}}} {value!r}" if inner else f"{name} {value!r}")
        return "\n".join([*lines, ""])

    def _flat(self) -> Iterator[Value]:
        for name in sorted(self._values):
            for key in sorted(self._values[name]):
                if KINDS[name] == "histogram":
                    yield from self._histogram(name, key)
                else:
                    yield ((NAME, name), *key), self._values[name][key]

    def _histogram(self, name: str, key: Labels) -> Iterator[Value]:
        total = 0
        for bound, count in zip((*BOUNDS, None), self._buckets[name, key], strict=True):
            total += count
            pairs = tuple(sorted((*key, ("le", "+Inf" if bound is None else repr(bound)))))
            yield ((NAME, f"{name}_bucket"), *pairs), float(total)
        yield ((NAME, f"{name}_sum"), *key), self._values[name][key]
        yield ((NAME, f"{name}_count"), *key), float(total)


def _family(name: str) -> str:
    return name if name in KINDS else name.rpartition("_")[0]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
