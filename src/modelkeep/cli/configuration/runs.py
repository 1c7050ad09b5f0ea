"""The commands of a sweep's runs: a template filled, run with its output in files, its metrics read."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from modelkeep.core.errors import BadInput, Conflict
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.configuration.sweep import Run

Row = dict[str, Json]
RESULTS: Final = "results.json"
_PLACE: Final = re.compile(r"\{([A-Za-z_][\w.\[\]-]*)\}")
_NAMES: Final = ("config", "hash", "number", "folder", "overrides")
_TAIL_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command.

    Args:
        exit_code: of it; 127 where it cannot be started.
        seconds: how long it ran.
        metrics: the last line of its output that is a JSON object.
    """

    exit_code: int
    seconds: float
    metrics: dict[str, Json] = field(default_factory=dict)


class Command:
    """A command template; each run gets the arguments that follow from it.

    Args:
        template: as people write it.
        shell: whether a shell reads it.
        folder: where output goes.

    Raises:
        BadInput: it is empty, or a quote is not closed.
    """

    def __init__(self, template: str, shell: bool, folder: Path) -> None:
        self._template, self._shell, self._folder = template, shell, folder
        try:
            self._words = [] if shell else shlex.split(template)
        except ValueError as error:
            raise BadInput(f"--run {template!r}: {error}", hint="Close the quotes.") from None
        if not shell and not self._words:
            raise BadInput("--run is empty", hint="Write --run 'python train.py {overrides}'")

    def check(self, keys: Iterable[str]) -> None:
        """Makes sure that runs which change these keys have all that the template names.

        Raises:
            BadInput: they do not.
        """
        known = dict.fromkeys([*keys, *_NAMES], "")
        for word in [self._template] if self._shell else self._words:
            _filled(word, known)

    def arguments(self, run: Run, path: Path) -> str | list[str]:
        """Gives what is run: a line for the shell, or a list of arguments.

        Raises:
            BadInput: the template names something that the run does not have.
        """
        from modelkeep.configuration.sweep import argument, written

        overrides = [argument(one) for one in run.overrides]
        values = {
            **{one.key: one.value if isinstance(one.value, str) else written(one.value) for one in run.overrides},
            "config": str(path),
            "hash": run.hash,
            "number": str(run.number),
            "folder": str(self._folder),
        }
        if self._shell:
            quoted = {name: shlex.quote(value) for name, value in values.items()}
            return _filled(self._template, {**quoted, "overrides": shlex.join(overrides)})
        found: list[str] = []
        for word in self._words:
            found += (
                overrides if word == "{overrides}" else [_filled(word, {**values, "overrides": " ".join(overrides)})]
            )
        return found

    def do(self, run: Run, path: Path) -> Done:
        """Runs the command of one run; what it prints goes to files beside its configuration."""
        arguments = self.arguments(run, path)
        stem = f"{run.number:04d}-{run.hash[:16]}"
        out, err = self._folder / f"{stem}.out", self._folder / f"{stem}.err"
        began = time.monotonic()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            try:
                code = subprocess.run(
                    arguments, shell=self._shell, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False
                ).returncode
            except OSError as error:
                stderr.write(f"{arguments[0]}: {error.strerror}\n".encode())
                code = 127
        return Done(code, time.monotonic() - began, _metrics(out))


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            raise BadInput(f"--run: there is no {found[0]}", hint=f"There are {known}.")
        return values[found[1]]

    return _PLACE.sub(value, text)


def _metrics(path: Path) -> dict[str, Json]:
    """Gives the last line of a file that is a JSON object."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.strip().startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return found if isinstance(found, dict) else {}
    return {}


def metric(row: Mapping[str, Json], name: str) -> float | None:
    """Gives a run's metric; None where its command failed or did not tell it as a number.

    >>> metric({"exit_code": 0, "metrics": {"val": {"loss": 0.5}}}, "val.loss")
    0.5
    """
    from modelkeep.configuration.tree import parts, pick

    told = row.get("metrics")
    if row.get("exit_code") != 0 or not isinstance(told, dict):
        return None
    try:
        found = told[name] if name in told else pick(told, parts(name))
    except KeyError:
        return None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def row_of(run: Run, path: Path, done: Done | None) -> Row:
    """Gives what is kept of a run; `done` is None where there is no command."""
    row: Row = {"number": run.number, "hash": run.hash, "config": str(path), "overrides": dict(run.shown())}
    if done is not None:
        row |= {"exit_code": done.exit_code, "seconds": round(done.seconds, 3), "metrics": done.metrics}
    return row


def holds(folder: Path) -> bool:
    """Says whether a folder holds a sweep."""
    return any((folder / name).exists() for name in (RESULTS, "study.journal"))


def kept(folder: Path) -> list[Row]:
    """Gives the runs that a folder has.

    Raises:
        Conflict: its results cannot be read.
    """
    path = folder / RESULTS
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return [dict(row) for row in found]
    except (ValueError, TypeError):
        raise Conflict(f"{path} is not what a sweep wrote", hint="Choose another --folder.") from None


def keep(folder: Path, rows: list[Row]) -> None:
    """Writes the results of a folder, whole or not at all."""
    fresh = folder / f"{RESULTS}.new"
    fresh.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    fresh.replace(folder / RESULTS)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other sweeps out of a folder.

    Raises:
        Conflict: another one works there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Conflict(f"another sweep works in {folder}", hint="Wait for it, or take another.") from None
        yield


@contextmanager
def progress(count: int) -> Iterator[Callable[[], None]]:
    """Shows a bar of runs where people look; gives what to call after each."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=count, label="Runs", file=sys.stderr, show_pos=True) as bar:
        yield lambda: bar.update(1)
