"""How commands show that long work goes on: bars with bytes, rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import click

from modelkeep.data.progress import SILENT, Progress, Step, Unit

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_PATIENCE_S: Final = 0.3
"""Work that is done sooner shows no bar."""
_BATCH_S: Final = 0.05


@contextmanager
def shown() -> Iterator[Progress]:
    """Gives a progress that draws on stderr when that is a terminal, and only speaks when it is not."""
    if not sys.stderr.isatty():
        yield _Spoken()
        return
    drawn = _Drawn()
    try:
        yield drawn
    finally:
        drawn.close()


class _Spoken:
    def begin(self, task: str, *, total: int | None = None, unit: Unit = "files") -> Step:
        return SILENT.begin(task, total=total, unit=unit)

    def say(self, message: str) -> None:
        click.echo(message, err=True)


class _Drawn:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bars: dict[Unit, Bars] = {}

    def begin(self, task: str, *, total: int | None = None, unit: Unit = "files") -> Step:
        return _DrawnStep(self, task, total, unit)

    def say(self, message: str) -> None:
        click.echo(f"\r\x1b[2K{message}", err=True)

    def patient(self) -> bool:
        return time.monotonic() - self._began < _PATIENCE_S

    def bars(self, unit: Unit) -> Bars:
        """The drawing of one unit; rich is imported when there is something to draw."""
        if unit not in self._bars:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                MofNCompleteColumn,
                Progress,
                ProgressColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            counted: tuple[ProgressColumn, ...] = (MofNCompleteColumn(), TextColumn("files"))
            if unit == "bytes":
                counted = (DownloadColumn(binary_units=True), TransferSpeedColumn())
            for other in self._bars.values():  # one drawing at a time owns the terminal
                other.stop()
            self._bars = {}
            bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                *counted,
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            bars.start()
            self._bars[unit] = bars
        return self._bars[unit]

    def close(self) -> None:
        for bars in self._bars.values():
            bars.stop()


class _DrawnStep:
    """Collects amounts and hands them on twenty times a second: files come faster than anybody can look."""

    def __init__(self, drawn: _Drawn, task: str, total: int | None, unit: Unit) -> None:
        self._drawn, self._task, self._total, self._unit = drawn, task, total, unit
        self._waiting = 0
        self._shown = time.monotonic()
        self._id: TaskID | None = None
        self._bars: Bars | None = None

    def add(self, amount: int) -> None:
        self._waiting += amount
        now = time.monotonic()
        if now - self._shown >= _BATCH_S and not self._drawn.patient():
            self._shown = now
            self._hand_on()

    def _hand_on(self) -> None:
        bars = self._drawn.bars(self._unit)
        if self._bars is not bars or self._id is None:
            self._bars, self._id = bars, bars.add_task(self._task, total=self._total)
        bars.advance(self._id, self._waiting)
        self._waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None and self._id is not None:
            self._bars.remove_task(self._id)
