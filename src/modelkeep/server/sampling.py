"""The server samples itself: its own figures, its process and its host, into its own journal."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelkeep.core.clock import SECOND
from modelkeep.core.encoding import Samples
from modelkeep.core.errors import Busy, Error
from modelkeep.core.kinds import Kind
from modelkeep.core.series import Labels
from modelkeep.metrics.probe import Probe
from modelkeep.wire import native

if TYPE_CHECKING:
    from modelkeep.server.house import House

log: Final = logging.getLogger(__name__)

PROBES: Final = Kind[Probe]("modelkeep.metrics.probes")
Figure = tuple[str, dict[str, str], float]


class Sampling:
    """Looks at one house and writes what it sees.

    Args:
        house: what is looked at.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._probes: dict[str, Probe] = (
            {name: PROBES.load(name)() for name in PROBES.names()} if house.settings.self_sampling else {}
        )
        house.own.read(self._figures)
        house.own.put("modelkeep_journal_cut_bytes", house.journal.recovered.cut_bytes)

    def keep(self) -> None:
        """Writes one sample of every figure and probe, at wall time."""
        house = self._house
        house.own.put("modelkeep_disk_used_bytes", used_bytes(house.folder))
        house.own.look()
        found = [*house.own.samples(), *self._probed()]
        now = house.wall.now_ns()
        part = native.samples(
            Samples(
                labels=[dict(pairs) for pairs, _ in found],
                series=list(range(len(found))),
                at=[now] * len(found),
                value=[value for _, value in found],
            )
        )
        try:
            house.journal.append([part])
        except Busy:
            log.debug("no room for the server's own samples")

    def _probed(self) -> list[tuple[Labels, float]]:
        found: list[tuple[Labels, float]] = []
        for name, probe in self._probes.items():
            try:
                found += [(tuple(sorted(pairs.items())), value) for pairs, value in probe.read()]
            except (Error, OSError) as error:
                self._house.own.add("modelkeep_round_failures_total", round=f"probe {name}")
                log.debug("probe %s: %s", name, error)
        return found

    def _figures(self) -> list[Figure]:
        """Everything that is counted elsewhere."""
        house = self._house
        journal, alerts = house.journal.status(), house.alerts.status()
        now = house.wall.now_ns()
        found: list[Figure] = [
            ("modelkeep_up_seconds", {}, (now - house.started_ns) / SECOND),
            ("modelkeep_ingest_open", {}, 0.0 if house.closed() or journal.busy else 1.0),
            ("modelkeep_journal_bytes", {}, journal.bytes),
            ("modelkeep_journal_segments", {}, journal.segments),
            ("modelkeep_journal_entries_total", {}, journal.last),
            ("modelkeep_journal_fsyncs_total", {}, journal.fsyncs),
            ("modelkeep_disk_free_bytes", {}, shutil.disk_usage(house.folder).free),
            ("modelkeep_clock_seconds", {}, house.clock.now_ns() / SECOND),
            ("modelkeep_alerts_pending", {}, alerts.pending),
            ("modelkeep_alerts_firing", {}, alerts.firing),
            ("modelkeep_rule_failures_total", {}, alerts.failures),
        ]
        return [*found, *self._readers(), *self._engines()]

    def _readers(self) -> list[Figure]:
        found: list[Figure] = []
        for name, feed in self._house.feeds.items():
            status, pairs = feed.status(), {"reader": name}
            found += [
                ("modelkeep_reader_lag_entries", pairs, status.behind),
                ("modelkeep_reader_failed", pairs, 1.0 if status.failure else 0.0),
                ("modelkeep_reader_failures_total", pairs, status.failures),
                ("modelkeep_reader_quarantined_total", pairs, status.quarantined),
            ]
        return found

    def _engines(self) -> list[Figure]:
        house = self._house
        series, quality = house.series.status(), house.quality.status().json()
        found: list[Figure] = [("modelkeep_series", {}, series.series)]
        found += [("modelkeep_samples_refused_total", {"reason": why}, count) for why, count in series.refused.items()]
        for state in ("waiting", "dead"):
            found.append((f"modelkeep_outbox_{state}", {}, len(house.alerts.outbox(state))))
        for what, count in quality.items():
            if isinstance(count, int) and what not in {"applied", "sealed"}:
                found.append(("modelkeep_quality_records_total", {"what": what}, count))
        return found


def used_bytes(folder: Path) -> int:
    """Gives the size of all files below a folder."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:  # compaction took it away meanwhile
            continue
    return total
