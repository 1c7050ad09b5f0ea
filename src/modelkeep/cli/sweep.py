"""The work of `modelkeep config sweep`: every configuration is kept, its command run, the results put in a table."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json, table
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.configuration.sweep import Run

_OVERRIDE: Final = re.compile(r"(\+\+?|~)?[A-Za-z_][\w.\[\]-]*=|~")
_PLACE: Final = re.compile(r"\{([A-Za-z_][\w.\[\]-]*)\}")
_TAIL_BYTES: Final = 65_536


@dataclass
class Result:
    """What became of one run.

    Args:
        run: the run.
        path: its resolved configuration.
        exit_code: that of its command; None where none was run.
        seconds: how long the command ran.
        metrics: the object in the last line of the command's output that is one.
    """

    run: Run
    path: Path
    exit_code: int | None = None
    seconds: float = 0.0
    metrics: dict[str, Json] = field(default_factory=dict)


@click.command()
@click.argument("words", metavar="SOURCE... [--] OVERRIDE...", nargs=-1, required=True)
@click.option("--run", "template", help="The command of each run, such as 'python train.py {overrides}'.")
@click.option("--shell", is_flag=True, help="Give the command to a shell; what replaces braces is quoted.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Runs at a time.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where configurations and output go.  [default: sweeps/<time>]"
)
@click.option("--stop", is_flag=True, help="Begin no further run after one that failed.")
@json_option
def sweep(
    words: tuple[str, ...], template: str | None, shell: bool, jobs: int, folder: Path | None, stop: bool, as_json: bool
) -> None:
    """Make every variant of a configuration, keep each by its hash, and run a command for each.

    OVERRIDE is as in Hydra: lr=0.1,0.01 depth=range(1,5) opt=choice(sgd,adam) +new=1 ~old. The last changes fastest.

    In the command {overrides} stands for the run's overrides, {config} for the file of its resolved configuration
    (secrets masked), {hash}, {number} and {folder} for themselves, and {KEY} for the value of a swept key. No shell
    reads the command unless --shell is given. Standard output and error go to files; when the last line of standard
    output is a JSON object, its members are the metrics of the run.
    """
    need("config", "omegaconf", "pydantic", "yaml")
    from modelkeep.configuration.source import open_sources
    from modelkeep.configuration.sweep import Base

    overrides = [word for word in words if _OVERRIDE.match(word)]
    sources = [source for word in words if word not in overrides for source in open_sources(word)]
    if not sources:
        raise BadInput("there is no source to vary", hint="modelkeep config sweep conf/*.yaml -- lr=0.1,0.01")
    made = Base(sources).runs(overrides)
    folder = folder or Path("sweeps") / time.strftime("%Y-%m-%dT%H-%M-%S")
    results = [Result(run, run.save(folder)) for run in made]
    if template is not None:
        _run_all(results, _Command(template, shell, folder), jobs, stop=stop)
    found = [_row(result, ran=template is not None) for result in results]
    (folder / "results.json").write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    if as_json:
        print_json({"folder": str(folder), "runs": [*found]})
    else:
        click.echo(_table(results, ran=template is not None))
        click.echo(f"{len(made)} runs are in {folder}.", err=True)
    if any(result.exit_code for result in results):
        sys.exit(1)


class _Command:
    """A command template; each run gets the arguments that follow from it."""

    def __init__(self, template: str, shell: bool, folder: Path) -> None:
        self._template, self._shell, self._folder = template, shell, folder
        try:
            self._words = [] if shell else shlex.split(template)
        except ValueError as error:
            raise BadInput(f"--run {template!r}: {error}", hint="Close the quotes.") from None
        if not shell and not self._words:
            raise BadInput("--run is empty", hint="Write --run 'python train.py {overrides}'")

    def arguments(self, result: Result) -> str | list[str]:
        """Gives what is run: a line for the shell, or a list of arguments.

        Raises:
            BadInput: the template names something that the run does not have.
        """
        from modelkeep.configuration.sweep import argument, written

        overrides = [argument(one) for one in result.run.overrides]
        values = {
            **{
                one.key: one.value if isinstance(one.value, str) else written(one.value) for one in result.run.overrides
            },
            "config": str(result.path),
            "hash": result.run.hash,
            "number": str(result.run.number),
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

    def run(self, result: Result) -> Result:
        """Runs the command of one run; what it prints goes to files beside its configuration."""
        arguments = self.arguments(result)
        stem = f"{result.run.number:04d}-{result.run.hash[:16]}"
        out, err = self._folder / f"{stem}.out", self._folder / f"{stem}.err"
        began = time.monotonic()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            try:
                done = subprocess.run(
                    arguments, shell=self._shell, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False
                )
                result.exit_code = done.returncode
            except OSError as error:
                stderr.write(f"{arguments[0]}: {error.strerror}\n".encode())
                result.exit_code = 127
        result.seconds = time.monotonic() - began
        result.metrics = _metrics(out)
        return result


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


def _run_all(results: Sequence[Result], command: _Command, jobs: int, *, stop: bool) -> None:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    for result in results:
        command.arguments(result)  # a wrong template is told before anything runs
    with _progress(len(results)) as step, ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(command.run, result) for result in results]
        for future in as_completed(futures):
            if future.cancelled():
                continue
            done = future.result()
            step(done)
            if stop and done.exit_code:
                pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _progress(count: int) -> Iterator[Callable[[Result], None]]:
    if not sys.stderr.isatty():
        yield lambda result: None
        return
    with click.progressbar(length=count, label="Runs", file=sys.stderr, show_pos=True) as bar:
        yield lambda result: bar.update(1)


def _row(result: Result, *, ran: bool) -> dict[str, Json]:
    row: dict[str, Json] = {
        "number": result.run.number,
        "hash": result.run.hash,
        "config": str(result.path),
        "overrides": dict(result.run.shown()),
    }
    if ran:
        row |= {"exit_code": result.exit_code, "seconds": round(result.seconds, 3), "metrics": result.metrics}
    return row


def _table(results: Sequence[Result], *, ran: bool) -> str:
    keys = list(dict.fromkeys(key for result in results for key in result.run.shown()))
    metrics = list(dict.fromkeys(name for result in results for name in result.metrics))
    head = ["run", *keys, "hash", *(["exit", "seconds", *metrics] if ran else [])]
    rows: list[list[Json]] = []
    for result in results:
        shown = result.run.shown()
        row: list[Json] = [result.run.number, *(shown.get(key) for key in keys), result.run.hash[:12]]
        if ran:
            row += [result.exit_code, round(result.seconds, 1), *(result.metrics.get(name) for name in metrics)]
        rows.append(row)
    return table(head, rows)
