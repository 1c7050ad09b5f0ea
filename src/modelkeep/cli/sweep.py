"""The work of `modelkeep config sweep`: every configuration is kept, its command run, the results put in a table."""

from __future__ import annotations

import hashlib
import itertools
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from modelkeep.cli.configuration.runs import Command, Row, alone, holds, keep, kept, metric, progress, row_of
from modelkeep.cli.extra import need
from modelkeep.cli.output import json_option, print_json, table
from modelkeep.core.errors import BadInput, Conflict
from modelkeep.core.shapes import Json

if TYPE_CHECKING:
    from modelkeep.configuration.search import Search
    from modelkeep.configuration.sweep import Base, Run

_OVERRIDE: Final = re.compile(r"(\+\+?|~)?[A-Za-z_][\w.\[\]-]*=|~")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How runs are to be done, and what they are for.

    Args:
        command: what is run; None keeps the configurations only.
        folder: of the results.
        jobs: runs at a time.
        stop: whether a failed run is the last.
        goal: `minimize` or `maximize`; empty where there is none.
        metric: of which.
    """

    command: Command | None
    folder: Path
    jobs: int
    stop: bool
    goal: Literal["minimize", "maximize", ""]
    metric: str

    def failed(self, row: Row) -> bool:
        """Says whether a run failed: its command did, or it did not tell the metric that was asked for."""
        if self.command is None:
            return False
        return row.get("exit_code") != 0 or bool(self.metric and metric(row, self.metric) is None)

    def best(self, rows: Sequence[Row]) -> Row | None:
        """Gives the run nearest to the goal, the first of equals."""
        found = [(value, row) for row in rows if self.metric and (value := metric(row, self.metric)) is not None]
        sign = -1 if self.goal == "maximize" else 1
        return min(found, key=lambda one: sign * one[0])[1] if found else None


@click.command()
@click.argument("words", metavar="SOURCE... [--] OVERRIDE...", nargs=-1, required=True)
@click.option("--run", "template", help="The command of each run, such as 'python train.py {overrides}'.")
@click.option("--shell", is_flag=True, help="Give the command to a shell; what replaces braces is quoted.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Runs at a time.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where configurations and output go.  [default: sweeps/<time>]"
)
@click.option("--resume", is_flag=True, help="Go on with the sweep in --folder; what succeeded there is not run again.")
@click.option("--stop", is_flag=True, help="Begin no further run after one that failed.")
@click.option("--minimize", metavar="METRIC", help="The metric whose least value is best.")
@click.option("--maximize", metavar="METRIC", help="The metric whose largest value is best.")
@click.option("--trials", type=click.IntRange(1), help="Let an optimiser choose so many runs.")
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid"]),
    help="How it chooses: from what came out so far, by chance, or all in order.  [default: tpe]",
)
@click.option("--seed", type=click.IntRange(0), help="Equal seeds choose alike.  [default: any]")
@json_option
def sweep(
    words: tuple[str, ...],
    template: str | None,
    shell: bool,
    jobs: int,
    folder: Path | None,
    resume: bool,
    stop: bool,
    minimize: str | None,
    maximize: str | None,
    trials: int | None,
    sampler: Literal["tpe", "random", "grid"] | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Make every variant of a configuration, keep each by its hash, and run a command for each.

    OVERRIDE is as in Hydra: lr=0.1,0.01 depth=range(1,5) opt=choice(sgd,adam) +new=1 ~old. The last changes fastest.
    With --trials an optimiser (Optuna) chooses among them, and in intervals: lr=tag(log,interval(1e-5,1e-1)).

    In the command {overrides} stands for the run's overrides, {config} for the file of its resolved configuration
    (secrets masked), {hash}, {number} and {folder} for themselves, and {KEY} for the value of a swept key. No shell
    reads the command unless --shell is given. Standard output and error go to files; the last line of standard
    output that is a JSON object holds the metrics of the run, and METRIC is a key of it (val.loss: one inside).
    """
    need("config", "omegaconf", "pydantic", "yaml")
    from modelkeep.configuration.overrides import parse
    from modelkeep.configuration.source import open_sources
    from modelkeep.configuration.sweep import Base

    overrides = [word for word in words if _OVERRIDE.match(word)]
    sources = [source for word in words if word not in overrides for source in open_sources(word)]
    if not sources:
        raise BadInput("there is no source to vary", hint="modelkeep config sweep conf/*.yaml -- lr=0.1,0.01")
    searched = trials is not None or sampler is not None
    _check(searched, resume, folder, template, minimize, maximize, seed, sampler, trials)
    base = Base(sources)
    folder = folder or _fresh(Path("sweeps") / time.strftime("%Y-%m-%dT%H-%M-%S"))
    command = Command(template, shell, folder) if template is not None else None
    if command is not None:
        command.check(parse(text).key for text in overrides)
    goal: Literal["minimize", "maximize", ""] = "minimize" if minimize else "maximize" if maximize else ""
    wanted = Wanted(command, folder, jobs, stop, goal, minimize or maximize or "")
    made = [] if searched else base.runs(overrides)
    with alone(folder):
        if holds(folder) and not resume:
            raise Conflict(f"{folder} holds a sweep already", hint="Go on with it by --resume, or take another folder.")
        if searched:
            search = _search(base, overrides, wanted, sampler or "tpe", seed, template or "")
            rows = _chosen(base, search, wanted, trials)
        else:
            search, rows = None, _every(made, wanted)
    _show(rows, wanted, search, as_json=as_json)
    if any(wanted.failed(row) for row in rows):
        sys.exit(1)


def _check(
    searched: bool,
    resume: bool,
    folder: Path | None,
    template: str | None,
    minimize: str | None,
    maximize: str | None,
    seed: int | None,
    sampler: str | None,
    trials: int | None,
) -> None:
    """Refuses options that do not go together."""
    wrong = ""
    if minimize and maximize:
        wrong = "--minimize and --maximize exclude each other"
    elif (minimize or maximize or searched) and template is None:
        wrong = "there is no command to measure: --run"
    elif searched and not (minimize or maximize):
        wrong = "an optimiser needs --minimize METRIC or --maximize METRIC"
    elif searched and trials is None and sampler != "grid":
        wrong = f"--sampler {sampler} needs --trials"
    elif seed is not None and not searched:
        wrong = "--seed is for --trials"
    elif resume and folder is None:
        wrong = "--resume needs --folder"
    if wrong:
        raise BadInput(wrong, hint="For example --run 'python train.py {overrides}' --trials 20 --minimize loss")


def _fresh(folder: Path) -> Path:
    """Gives the folder, or one with a number behind its name where it is taken."""
    names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([folder], names) if not one.exists())


def _every(made: Sequence[Run], wanted: Wanted) -> list[Row]:
    """Runs every variant, save those that succeeded before; gives all."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    paths = {run.number: run.save(wanted.folder) for run in made}
    rows: dict[int, Row] = {run.number: row_of(run, paths[run.number], None) for run in made}
    command = wanted.command
    if command is not None:
        before = {(row.get("number"), row.get("hash")): row for row in kept(wanted.folder)}
        waiting = []
        for run in made:
            old = before.get((run.number, run.hash))
            if old is not None and "exit_code" in old and not wanted.failed(old):
                rows[run.number] = old
            else:
                rows[run.number] |= {"exit_code": None, "seconds": 0.0, "metrics": {}}
                waiting.append(run)
        with progress(len(waiting)) as step, ThreadPoolExecutor(wanted.jobs) as pool:
            futures = {pool.submit(command.do, run, paths[run.number]): run for run in waiting}
            for future in as_completed(futures):
                run = futures[future]
                if future.cancelled():
                    continue
                rows[run.number] = row_of(run, paths[run.number], future.result())
                keep(wanted.folder, [*rows.values()])
                step()
                if wanted.stop and wanted.failed(rows[run.number]):
                    pool.shutdown(wait=False, cancel_futures=True)
    keep(wanted.folder, [*rows.values()])
    return [*rows.values()]


def _search(
    base: Base,
    overrides: Sequence[str],
    wanted: Wanted,
    sampler: Literal["tpe", "random", "grid"],
    seed: int | None,
    template: str,
) -> Search:
    need("sweep", "optuna")
    import optuna

    from modelkeep.configuration.search import Search

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Search(
        overrides,
        wanted.folder,
        goal=wanted.goal or "minimize",
        metric=wanted.metric,
        sampler=sampler,
        seed=seed,
        sources=hashlib.sha256(f"{base.digest} {template}".encode(errors="replace")).hexdigest(),
    )


def _chosen(base: Base, search: Search, wanted: Wanted, trials: int | None) -> list[Row]:
    """Runs what an optimiser asks for, in batches of jobs; gives all runs of the search."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    command, size = wanted.command, search.size
    assert command is not None
    most = min(one for one in (trials, size) if one is not None)
    rows = {one.number: dict(one.row) for one in search.told()}
    stopped = False
    with progress(max(0, most - len(rows))) as step, ThreadPoolExecutor(wanted.jobs) as pool:
        while len(rows) < most and not stopped:
            batch = {}
            for _ in range(min(wanted.jobs - len(rows) % wanted.jobs, most - len(rows))):
                asked = search.ask()
                run = base.run(asked.number, asked.overrides)
                path = run.save(wanted.folder)
                batch[pool.submit(command.do, run, path)] = asked, run, path
            for future in as_completed(batch):
                asked, run, path = batch[future]
                row = rows[run.number] = row_of(run, path, future.result())
                search.tell(asked, metric(row, wanted.metric), row)
                keep(wanted.folder, [rows[number] for number in sorted(rows)])
                step()
                stopped = stopped or (wanted.stop and wanted.failed(row))
    return [rows[number] for number in sorted(rows)]


def _show(rows: list[Row], wanted: Wanted, search: Search | None, *, as_json: bool) -> None:
    best = wanted.best(rows)
    if as_json:
        answer: dict[str, Json] = {"folder": str(wanted.folder), "runs": [*rows]}
        if wanted.metric:
            answer["best"] = best["number"] if best else None
        if search is not None:
            answer["seed"] = search.seed
        print_json(answer)
        return
    click.echo(_table(rows, ran=wanted.command is not None))
    for row in rows:
        if wanted.metric and row.get("exit_code") == 0 and wanted.failed(row):
            click.echo(
                f"Run {row['number']} told no number {wanted.metric!r} in the last line of its output.", err=True
            )
    if best:
        overrides = best["overrides"]
        said = [f"{key}={value}" for key, value in overrides.items()] if isinstance(overrides, dict) else []
        click.echo(
            f"Best: run {best['number']}, {wanted.metric} {metric(best, wanted.metric)}: {' '.join(said)}", err=True
        )
    seed = f", seed {search.seed}" if search is not None else ""
    click.echo(f"{len(rows)} runs are in {wanted.folder}{seed}.", err=True)


def _table(rows: Sequence[Row], *, ran: bool) -> str:
    def members(row: Row, name: str) -> dict[str, Json]:
        found = row.get(name)
        return found if isinstance(found, dict) else {}

    keys = list(dict.fromkeys(key for row in rows for key in members(row, "overrides")))
    metrics = list(dict.fromkeys(name for row in rows for name in members(row, "metrics")))
    head = ["run", *keys, "hash", *(["exit", "seconds", *metrics] if ran else [])]
    shown: list[list[Json]] = []
    for row in rows:
        line: list[Json] = [row["number"], *(members(row, "overrides").get(key) for key in keys), str(row["hash"])[:12]]
        if ran:
            seconds = row.get("seconds")
            line += [row.get("exit_code"), round(seconds, 1) if isinstance(seconds, float) else 0.0]
            line += [members(row, "metrics").get(name) for name in metrics]
        shown.append(line)
    return table(head, shown)
