"""The house: everything a server owns, built in order, started, watched and stopped."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from modelkeep.alerts.alerts import Alerts
from modelkeep.alerts.channel import open_channels
from modelkeep.alerts.outbound import Outbound
from modelkeep.alerts.rules import RuleGroup, default_rules, load_rules
from modelkeep.core.clock import SECOND, Clock, Events, Wall
from modelkeep.core.errors import Error
from modelkeep.core.times import duration_ns
from modelkeep.metrics.promql.evaluate import PromQL
from modelkeep.models.training import TrainingSeries
from modelkeep.quality.quality import Quality
from modelkeep.server.configurations import Presence
from modelkeep.server.ingest import Clocks
from modelkeep.server.models import Serving as Models
from modelkeep.server.own import Own
from modelkeep.server.pause import Pausable
from modelkeep.server.registry import Repository
from modelkeep.server.rounds import Round
from modelkeep.server.sampling import Sampling
from modelkeep.server.settings import Settings, durations
from modelkeep.server.wishes import Wishes
from modelkeep.store.configurations import Configurations
from modelkeep.store.deploys import Deploys
from modelkeep.store.engines.rows import Rows
from modelkeep.store.engines.series import Series
from modelkeep.store.engines.text import Text
from modelkeep.store.entries import Entries
from modelkeep.store.journal.feed import Feed
from modelkeep.store.journal.journal import Journal
from modelkeep.store.pairs import Pairs
from modelkeep.store.releases import Releases
from modelkeep.store.served import Serving
from modelkeep.store.tokens import Tokens
from modelkeep.store.trainings import Trainings

log: Final = logging.getLogger(__name__)

OWN_WRITES_S: Final = 2.0
"""How long a question waits for what was acknowledged before it."""
_CATCH_UP_S: Final = 30.0
"""The clock of events must know the newest prediction before it judges any record."""
_DRAIN_S: Final = 10.0
"""How long a stop waits for readers; what they have not taken by then they take after the next start."""
_HISTORY_S: Final = 3600.0


class House:
    """Everything a server owns.

    Args:
        settings: what it is told.
        wall: this machine's clock.

    Raises:
        Conflict: another server has the data folder.
        BadInput: a rule file, channel or setting is wrong.
    """

    def __init__(self, settings: Settings, *, wall: Clock | None = None) -> None:
        self.settings: Final = settings
        self.folder: Final[Path] = settings.folder
        self.wall: Final[Clock] = wall or Wall()
        self.own: Final = Own()
        self.watermark: Final = Events() if settings.clock == "events" else None
        self.clocks: Final = Clocks(self.wall, self.watermark)
        self.settled: Final = Events() if self.watermark is not None else None
        self.upkeep: Final = threading.Lock()
        self.presence: Final = Presence(self.wall)
        self.started_ns = self.wall.now_ns()
        self.evaluated_ns = 0
        self._why, self._begun_seq = "starting", 0
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as opened:
            self._open(opened)
            self._opened = opened.pop_all()
        self._rounds = self._make_rounds()

    @property
    def clock(self) -> Clock:
        """The active clock: the wall, or the newest prediction."""
        return self.watermark or self.wall

    def closed(self) -> str:
        """Why no records are taken; empty when they are."""
        return self._why

    def close_gate(self, why: str) -> None:
        """Takes no more records.

        Args:
            why: told to whoever sends one.
        """
        self._why = why

    # --- building ---

    def _open(self, opened: ExitStack) -> None:
        settings, folder = self.settings, self.folder
        self.journal = opened.enter_context(
            closing(Journal(folder / "journal", clock=self.wall, reserve_bytes=settings.disk_floor_bytes))
        )
        for left in folder.glob("backup-*"):
            shutil.rmtree(left, ignore_errors=True)
        self.entries = opened.enter_context(closing(Entries(folder / "entries.db")))
        self.tokens = opened.enter_context(closing(Tokens(self.entries, self.wall)))
        self._open_readers(opened)
        self.models = Models(self)
        self.repository = opened.enter_context(closing(Repository(settings.models.repository)))
        self.sources = (self.series, self.quality.series, TrainingSeries(self.models.ends))
        self.promql = PromQL(self.sources)
        self.alerts = Alerts(
            self.entries,
            self.promql,
            rules=self._rules(),
            channels=open_channels(settings.channels, Outbound(allow=tuple(settings.alerts.allow))),
            route=settings.alerts.route,
            events_clock=self.settled or self.wall,
            wall=self.wall,
            link=settings.address,
            explain=self.models.explain,
        )
        self.sampling = Sampling(self)

    def _open_readers(self, opened: ExitStack) -> None:
        folder, kept, limits = self.folder, durations(self.settings), self.settings.limits
        clock = self.clock
        self.rows = opened.enter_context(
            closing(Rows(folder / "rows", clock=clock, retention=kept, memory_limit_bytes=limits.query_memory_bytes))
        )
        self.series = opened.enter_context(
            closing(Series(folder / "series", clock=clock, retention_ns=kept["sample"], max_series=limits.series))
        )
        self.text = opened.enter_context(closing(Text(folder / "text", clock=clock, retention_ns=kept["log"])))
        self.quality = opened.enter_context(
            closing(Quality(folder / "quality", window_ns=duration_ns(self.settings.quality.window)))
        )
        self.releases = opened.enter_context(closing(Releases(self.entries)))
        self.configurations = opened.enter_context(closing(Configurations(self.entries)))
        self.wishes = Wishes(self.configurations, self.presence, self.wall)
        self.trainings = opened.enter_context(closing(Trainings(self.entries)))
        self.serving = opened.enter_context(closing(Serving(self.entries)))
        self.pairs = Pairs(self.entries, self.wall)
        self.deploys = Deploys(self.entries)
        engines = (self.rows, self.series, self.text, self.quality)
        readers = (*engines, self.releases, self.configurations, self.trainings, self.serving)
        self.readers = [Pausable(reader) for reader in readers]
        self.feeds = {reader.name: Feed(self.journal, reader) for reader in self.readers}

    def _rules(self) -> list[RuleGroup]:
        own = default_rules() if self.settings.alerts.defaults else []
        return [*own, *load_rules(self.settings.alerts.rules)]

    def _make_rounds(self) -> list[Round]:
        every = duration_ns(self.settings.alerts.every) / SECOND
        rounds = [
            Round("rules", every, self.evaluate, self.own),
            Round("outbox", 1.0, self.alerts.deliver, self.own),
            Round("upkeep", 60.0, self.keep_up, self.own),
            Round("history", _HISTORY_S, self._forget, self.own),
        ]
        if self.settings.self_sampling:
            rounds.append(Round("sampling", 10.0, self.sampling.keep, self.own))
        return rounds

    # --- living ---

    def start(self) -> None:
        """Brings the readers up to date and opens for records."""
        if cut := self.journal.recovered.cut_bytes:
            log.warning("the journal ended in an unfinished entry: %d bytes were cut off", cut)
        self._learn_time()
        for feed in self.feeds.values():
            feed.start()
        self._begun_seq = self.journal.last()
        if self.watermark is not None and not self.caught_up():
            log.warning("readers are still reading the journal; the newest prediction may not be known yet")
        self._learn_time()
        for round_ in self._rounds:
            round_.start()
        self._why = ""

    def stop(self) -> None:
        """Takes no more records, seals what the readers have, and lets go of everything."""
        self.close_gate("the server is stopping")
        for round_ in self._rounds:
            round_.stop()
        _waited(list(self.feeds.values()), self.journal.last(), _DRAIN_S)
        for feed in self.feeds.values():
            feed.stop(seal=True)
        self._opened.close()

    def caught_up(self, *names: str, timeout_s: float = OWN_WRITES_S) -> bool:
        """Waits until readers have applied what was on disk when this was called.

        What was on disk when the server started is waited for longer: a restart makes no answer smaller.

        Args:
            names: which readers; none means all.
            timeout_s: the longest wait for all of them.

        Returns: whether they have.
        """
        feeds = [self.feeds[name] for name in names] if names else list(self.feeds.values())
        seq = self.journal.last()
        return _waited(feeds, self._begun_seq, _CATCH_UP_S) and _waited(feeds, seq, timeout_s)

    def evaluate(self) -> int:
        """Brings the rules up to the clock; with the clock of events never beyond what the readers have applied."""
        now_ns = self.clock.now_ns()
        changes = 0
        if self.settled is not None and self.caught_up("series", "quality", "trainings", timeout_s=_CATCH_UP_S):
            if not self.settled.now_ns():
                self.settled.advance(self._first_prediction())
                changes += self.alerts.evaluate()
            self.settled.advance(now_ns)
        changes += self.alerts.evaluate()
        self.own.add("modelkeep_alert_transitions_total", changes)
        self.evaluated_ns = self.settled.now_ns() if self.settled is not None else now_ns
        return changes

    def _first_prediction(self) -> int:
        """Where the clock of events begins: however much came at once, the rules see all of it."""
        return min((version.first_ns for model in self.quality.models() for version in model.versions), default=0)

    def keep_up(self) -> None:
        """Compacts and forgets what is beyond its retention."""
        with self.upkeep:
            self.rows.compact()
            self.rows.expire()
            self.text.expire()

    def _forget(self) -> None:
        before_ns = self.wall.now_ns() - durations(self.settings)["prediction"]
        self.alerts.expire(before_ns)
        self.configurations.expire(before_ns)
        self.serving.expire(before_ns)
        self.deploys.expire()

    def _learn_time(self) -> None:
        """With the clock of events: the newest prediction that is known is now."""
        if self.watermark is None:
            return
        try:
            newest = [version.last_ns for model in self.quality.models() for version in model.versions]
        except Error as error:
            log.warning("the newest prediction is not known yet: %s", error)
            return
        self.watermark.advance(max(newest, default=0))


def _waited(feeds: Sequence[Feed], seq: int, timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    return all(feed.wait(seq, max(0.0, end - time.monotonic())) for feed in feeds)
