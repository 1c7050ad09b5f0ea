"""The text engine: log records by event day, searchable from the moment they are applied."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import msgspec
import tantivy

from modelkeep.core.clock import DAY, Clock, Wall
from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.core.shapes import Entry, Json
from modelkeep.store.runs.runs import replace, sync
from modelkeep.store.text.counts import Cells, Counts, gathered, of_index, of_lines, stretches
from modelkeep.store.text.days import Day, Span, compiled, count, newest
from modelkeep.store.text.lines import ROW_BITS, Line, Test, condition, cursor, read
from modelkeep.store.text.search import parse

FORM: Final = 1
_MANIFEST: Final = "manifest.json"
_MOST_WRITERS: Final = 4
_MOST_OPEN: Final = 64
_TAIL_LINES: Final = 4_000
_FULL_LINES: Final = 50_000
_REST: Final = 10
_EPOCH: Final = date(1970, 1, 1).toordinal()
_EDGE: Final = 1 << 63
_DAY_NAME: Final = re.compile(r"\d{4}-\d\d-\d\d\Z")


class _Manifest(msgspec.Struct, frozen=True):
    form: int = FORM
    sealed: int = 0
    written: tuple[int, ...] = ()
    """Days whose index may hold records behind `sealed`."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: the newest records first.

    Args:
        rows: the columns of `core.layouts.LOG`, `attributes` as an object, `id` = the record's place in the order.
        count: how many records match in the whole interval, exactly.
        next: give it as `before` for the records after these; None when there are none.
    """

    rows: list[dict[str, Json]]
    count: int
    next: str | None


@dataclass(frozen=True, slots=True)
class TextStatus:
    """What the engine holds.

    Args:
        applied: the last journal entry seen.
        sealed: the last one that needs no journal any more.
        days: how many days have records.
        first_day: ISO date, empty when there is none.
        last_day: likewise.
        tail: records that are still in memory only.
        size_bytes: of the index files.
        cut: records that came with more than can be searched (very long fields, very many attributes).
    """

    applied: int
    sealed: int
    days: int
    first_day: str
    last_day: str
    tail: int
    size_bytes: int
    cut: int


@dataclass(frozen=True, slots=True)
class _Question:
    query: tantivy.Query
    test: Test
    span: Span
    limit: int


class Text:
    """Finds log records; a reader of the journal.

    A record is in memory until its day's index has it on disk; a search sees both. What the indexes hold behind
    the sealed position is deleted at opening, because the journal brings it again.

    Args:
        folder: made when missing.
        clock: for retention.
        retention_ns: records whose whole day is older go.
        heap_bytes: memory per writer; four are open at most.

    Raises:
        Conflict: written by a newer version.
        Corrupt: the manifest or an index cannot be read.
    """

    name = "text"

    def __init__(
        self, folder: Path, *, clock: Clock | None = None, retention_ns: int = 7 * DAY, heap_bytes: int = 30_000_000
    ) -> None:
        self._folder = folder / "days"
        self._path = folder / _MANIFEST
        self._clock = clock or Wall()
        self._retention = retention_ns
        self._heap = heap_bytes
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._manifest = self._load()
        self._applied = self._manifest.sealed
        self._tail: dict[int, list[Line]] = {}
        self._open: OrderedDict[int, Day] = OrderedDict()
        self._writers: OrderedDict[int, Day] = OrderedDict()
        self._pause_s = 1.0
        self._flushed_s = time.monotonic()
        self._cut = 0
        self._days = self._existing()
        self._recover()

    def sealed(self) -> int:
        """The last journal entry whose records survive without the journal."""
        return self._manifest.sealed

    def apply(self, entries: Sequence[Entry]) -> None:
        """Takes entries in order; those seen before are passed over."""
        with self._writing:
            for entry in entries:
                if entry.seq > self._applied:
                    self._take(entry)
            lines = self._tail_lines()
            rested = time.monotonic() - self._flushed_s >= self._pause_s
            if lines >= _FULL_LINES or (lines >= _TAIL_LINES and rested):
                self._flush()

    def seal(self) -> int:
        """Brings everything applied to disk; gives the journal position that is now sealed."""
        with self._writing:
            self._flush()
            if self._applied != self._manifest.sealed:
                self._keep(_Manifest(FORM, self._applied, ()))
            return self._manifest.sealed

    def close(self) -> None:
        """Lets go of the indexes, without sealing."""
        with self._writing, self._lock:
            for day in self._writers.values():
                day.rest()
            self._writers.clear()
            self._open.clear()

    def search(
        self,
        query: str = "",
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Found:
        """Gives the newest matching records and the number of all that match.

        Args:
            query: see `modelkeep.store.text.search`; empty is everything.
            start_ns: the first moment.
            end_ns: behind the last moment.
            limit: at most so many rows, at least 1.
            before: `next` of the answer before, or a row's `id`: only records older than that one.

        Raises:
            BadInput: the query (with the column), the limit or the cursor is wrong.
        """
        if limit < 1:
            raise BadInput(f"limit is {limit}, expected at least 1")
        node = parse(query)
        start = -_EDGE if start_ns is None else start_ns
        end = _EDGE - 1 if end_ns is None else end_ns
        span = Span(max(start, -_EDGE), min(end, _EDGE - 1), None if before is None else _place(before))
        question = _Question(compiled(node), condition(node), span, limit + 1)
        rows: list[Line] = []
        total = 0
        for searcher, tail in self._snapshot(span):
            matching, number = _ask(question, searcher, tail, limit + 1 - len(rows))
            rows += matching
            total += number
        more = len(rows) > limit
        rows = rows[:limit]
        following = cursor(rows[-1].at, rows[-1].seq) if more else None
        return Found([line.row() for line in rows], total, following)

    def counts(self, query: str = "", *, start_ns: int, end_ns: int, step_ns: int) -> Counts:
        """Gives how many records match in each stretch of time, by severity.

        Args:
            query: as for `search`.
            start_ns: the first moment.
            end_ns: behind the last moment.
            step_ns: length of a stretch; stretches begin at multiples of it.

        Raises:
            BadInput: the query is wrong, or the step is too short for the interval.
        """
        numbers = stretches(start_ns, end_ns, step_ns)
        node, span = parse(query), Span(start_ns, end_ns)
        wanted, test = compiled(node), condition(node)
        cells: Cells = Cells()
        for searcher, tail in self._snapshot(span):
            cells += of_lines(tail, test, span, step_ns)
            if searcher is not None and searcher.num_docs:
                cells += of_index(searcher, wanted, span, step_ns)
        return gathered(cells, numbers, step_ns)

    def expire(self) -> int:
        """Deletes the days that are older than the retention; gives how many.

        Age counts from now or from the end of the newest day with records, whichever is earlier, so that a clock
        that jumped ahead deletes nothing that is not old beside the newest record.
        """
        with self._writing:
            with self._lock:
                if not self._days:
                    return 0
                now = min(self._clock.now_ns() // DAY, max(self._days) + 1)
                old = [day for day in self._days if day < now - self._retention // DAY]
            for day in sorted(old):
                self._delete(day)
            return len(old)

    def status(self) -> TextStatus:
        """What is held, for status pages."""
        with self._lock:
            days, tail = sorted(self._days), self._tail_lines()
            applied, sealed = self._applied, self._manifest.sealed
        first, last = (_iso(days[0]), _iso(days[-1])) if days else ("", "")
        size = 0
        for path in self._folder.glob("*/*"):
            try:
                size += path.stat().st_size
            except FileNotFoundError:
                continue
        return TextStatus(applied, sealed, len(days), first, last, tail, size, self._cut)

    def _load(self) -> _Manifest:
        if not self._path.exists():
            return _Manifest()
        try:
            manifest = msgspec.json.decode(self._path.read_bytes(), type=_Manifest)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{self._path}: {error}") from None
        if manifest.form > FORM:
            raise Conflict(
                f"{self._path}: written in form {manifest.form}, this version reads up to {FORM}",
                hint="Use the newer version of modelkeep that wrote it.",
            )
        return manifest

    def _keep(self, manifest: _Manifest) -> None:
        replace(self._path, msgspec.json.encode(manifest))
        self._manifest = manifest

    def _existing(self) -> set[int]:
        found = set()
        for folder in self._folder.iterdir():
            if folder.suffix == ".deleted":
                shutil.rmtree(folder)
            elif _DAY_NAME.match(folder.name):
                found.add(date.fromisoformat(folder.name).toordinal() - _EPOCH)
        return found

    def _recover(self) -> None:
        for number in self._manifest.written:
            if number in self._days:
                day = Day(self._folder / _iso(number), heap_bytes=self._heap)
                day.forget((self._manifest.sealed + 1) << ROW_BITS)
                day.rest()
        if self._manifest.written:
            self._keep(_Manifest(FORM, self._manifest.sealed, ()))

    def _take(self, entry: Entry) -> None:
        first = entry.seq << ROW_BITS
        lines: list[Line] = []
        for part in entry.parts:
            if part.kind == "log":
                lines += read(part.batch, first + len(lines))
        with self._lock:
            for line in lines:
                number = line.at // DAY
                self._tail.setdefault(number, []).append(line)
                self._days.add(number)
                self._cut += line.cut
            self._applied = entry.seq

    def _tail_lines(self) -> int:
        return sum(map(len, self._tail.values()))

    def _flush(self) -> None:
        if not self._tail:
            return
        began = time.monotonic()
        numbers = sorted(self._tail)
        written = tuple(sorted({*self._manifest.written, *numbers}))
        if written != self._manifest.written:
            self._keep(_Manifest(FORM, self._manifest.sealed, written))
        for number in numbers:
            day = self._writer(number)
            day.write(self._tail[number])
            with self._lock:
                day.show()
                del self._tail[number]
        self._flushed_s = time.monotonic()
        self._pause_s = max(1.0, _REST * (self._flushed_s - began))

    def _writer(self, number: int) -> Day:
        with self._lock:
            day = self._day(number)
        self._writers[number] = day
        self._writers.move_to_end(number)
        while len(self._writers) > _MOST_WRITERS:
            self._writers.popitem(last=False)[1].rest()
        return day

    def _day(self, number: int) -> Day:
        day = self._writers.get(number) or self._open.get(number)
        if day is None:
            day = Day(self._folder / _iso(number), heap_bytes=self._heap)
        self._open[number] = day
        self._open.move_to_end(number)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return day

    def _snapshot(self, span: Span) -> list[tuple[tantivy.Searcher | None, list[Line]]]:
        """What each day within the span holds at this moment, newest day first."""
        first, last = span.start // DAY, (span.end - 1) // DAY
        with self._lock:
            numbers = sorted((day for day in self._days if first <= day <= last), reverse=True)
            return [(self._searcher(number), list(self._tail.get(number, ()))) for number in numbers]

    def _searcher(self, number: int) -> tantivy.Searcher | None:
        if number not in self._open and not (self._folder / _iso(number)).exists():
            return None
        return self._day(number).searcher

    def _delete(self, number: int) -> None:
        folder = self._folder / _iso(number)
        gone = folder.with_suffix(".deleted")
        with self._lock:
            self._days.discard(number)
            self._tail.pop(number, None)
            self._open.pop(number, None)
            day = self._writers.pop(number, None)
            if day is not None:
                day.rest()
            if folder.exists():
                folder.rename(gone)
        if gone.exists():
            sync(self._folder)
            shutil.rmtree(gone)


def _ask(
    question: _Question, searcher: tantivy.Searcher | None, tail: Sequence[Line], room: int
) -> tuple[list[Line], int]:
    """Gives one day's newest matching lines, as many as there is room for, and how many match."""
    span, test = question.span, question.test
    found = [line for line in tail if span.start <= line.at < span.end and test(line)]
    total = len(found)
    lines = [line for line in found if span.before is None or (line.at, line.seq) < span.before]
    if searcher is not None and searcher.num_docs:
        total += count(searcher, question.query, span)
        if room > 0:
            lines += newest(searcher, question.query, span, room)
    lines.sort(key=lambda line: (line.at, line.seq), reverse=True)
    return lines[: max(room, 0)], total


def _place(text: str) -> tuple[int, int]:
    at, _, seq = text.rpartition("-")
    try:
        place = int(at), int(seq)
    except ValueError:
        place = 0, -1
    if place[1] < 0 or not -_EDGE <= place[0] < _EDGE or place[1] >= 2 * _EDGE:
        raise BadInput(f"before: {text!r} is not a place in the logs", hint="Give `next` of the answer before.")
    return place


def _iso(number: int) -> str:
    return date.fromordinal(number + _EPOCH).isoformat()
