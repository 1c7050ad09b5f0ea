"""Sweeps in which an optimiser chooses: the space beside Hydra's parser, the search beside Optuna, the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner

from modelkeep.cli.sweep import sweep
from modelkeep.configuration.overrides import Interval, parse
from modelkeep.configuration.search import FILE, Asked, Search
from modelkeep.configuration.sweep import argument, runs
from modelkeep.core.errors import BadInput, Conflict
from tests.peers import program

SPACE = ["lr=tag(log,interval(1e-5,1e-1))", "depth=range(1,9)", "rate=range(0,1,0.1)", "opt=sgd,adam,[1]", "k=7"]

optuna.logging.set_verbosity(optuna.logging.WARNING)

INTERVALS = [
    ("a=interval(1,10)", Interval(1.0, 10.0)),
    ("a=interval(-1.5,1e3)", Interval(-1.5, 1000.0)),
    ("a=interval(start=0,end=1)", Interval(0.0, 1.0)),
    ("a=int(interval(1,10))", Interval(1, 10, whole=True)),
    ("a=tag(log,interval(1e-5,1e-1))", Interval(1e-5, 0.1, log=True)),
    ("a=tag(x, log, interval(1, 2))", Interval(1.0, 2.0, log=True)),
    ("a=int(tag(log, interval(1,1024)))", Interval(1, 1024, log=True, whole=True)),
    ("a=tag(log, int(interval(1,1024)))", Interval(1, 1024, log=True, whole=True)),
    ("a=float(interval(1,2))", Interval(1.0, 2.0)),
    ("+a.b=tag(x,interval(1,2))", Interval(1.0, 2.0)),
]


@pytest.mark.parametrize(("text", "expected"), INTERVALS)
def test_an_interval_is_what_was_written(text: str, expected: Interval) -> None:
    found = parse(text)
    assert (found.interval, found.values) == (expected, ())
    assert parse(f"a={found.interval}").interval == expected
    with pytest.raises(BadInput, match="has no end of values"):
        runs([text])


PARSER = """
import json, sys
from hydra.core.override_parser.overrides_parser import OverridesParser
parser, out = OverridesParser.create(), []
for text in json.load(sys.stdin):
    one = parser.parse_override(text).value()
    out.append([one.start, one.end, "log" in one.tags, isinstance(one.start, int)])
json.dump(out, sys.stdout)
"""


@pytest.mark.needs("hydra")
def test_an_interval_is_what_hydra_reads() -> None:
    texts = [text for text, _ in INTERVALS]
    done = subprocess.run(
        [program("hydra"), "-c", PARSER], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    for text, theirs in zip(texts, json.loads(done.stdout), strict=True):
        ours = parse(text).interval
        assert ours is not None
        assert [ours.low, ours.high, ours.log, ours.whole] == theirs, text


def loss(asked: Asked) -> float:
    values = {one.key: one.value for one in asked.overrides}
    lr, depth, rate = (float(values[name]) for name in ("lr", "depth", "rate"))  # type: ignore[arg-type]
    return abs(lr - 0.01) + abs(depth - 5) + rate + (values["opt"] != [1])


def searched(folder: Path, until: int, *, fails: int = -1, **options: object) -> Search:
    search = Search(SPACE, folder, goal="minimize", metric="loss", **options)  # type: ignore[arg-type]
    while len(search.told()) < until:
        asked = search.ask()
        said = " ".join(map(argument, asked.overrides))
        search.tell(asked, None if asked.number == fails else loss(asked), {"said": said})
    return search


def said(search: Search) -> list[object]:
    return [one.row["said"] for one in search.told()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_equal_seeds_choose_alike_also_when_interrupted(sampler: str, tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", 16, seed=3, fails=4, sampler=sampler)
    parts = searched(tmp_path / "parts", 5, seed=3, fails=4, sampler=sampler)
    left = parts.ask()  # never told of: the process ended
    parts = searched(tmp_path / "parts", 12, sampler=sampler)
    parts.ask()
    parts = searched(tmp_path / "parts", 16, sampler=sampler)
    assert left.number == 5
    assert said(whole) == said(parts)
    assert [one.number for one in parts.told()] == [*range(16)]
    assert parts.told()[4].value is None
    assert parts.best() == whole.best()
    other = searched(tmp_path / "other", 16, seed=4, sampler=sampler)
    assert said(whole) != said(other)
    for line in said(whole):
        words = dict(word.split("=", 1) for word in str(line).split())
        assert 1e-5 <= float(words["lr"]) <= 0.1
        assert int(words["depth"]) in range(1, 9)
        assert parse(f"a={words['rate']}").values[0] in parse("a=range(0,1,0.1)").values
        assert (words["opt"] in {"sgd", "adam", "[1]"}, words["k"]) == (True, "7")


def test_what_is_learned_is_used(tmp_path: Path) -> None:
    def tail(sampler: str) -> float:
        search = searched(tmp_path / sampler, 60, seed=1, sampler=sampler)
        return sum(one.value for one in search.told()[30:] if one.value is not None)

    assert tail("tpe") < 0.7 * tail("random")


def test_optuna_itself_reads_the_journal(tmp_path: Path) -> None:
    search = searched(tmp_path, 12, seed=5)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / FILE)))
    study = optuna.load_study(study_name="sweep", storage=storage)
    best = search.best()
    assert best is not None
    assert (study.best_value, study.best_trial.number) == (best.value, best.number)
    assert f"lr={study.best_params['lr']!r}" in str(best.row["said"])


def test_a_grid_takes_all_in_the_order_of_a_sweep(tmp_path: Path) -> None:
    texts = ["a=1,2", "b=range(0,0.3,0.1)", "c=x", "d=range(4,0,-2)"]
    search = Search(texts, tmp_path, goal="maximize", metric="m", sampler="grid")
    assert search.size == 12
    asked = []
    for number in range(12):
        if number == 7:
            search.ask()  # interrupted
            search = Search(texts, tmp_path, goal="maximize", metric="m", sampler="grid")
        one = search.ask()
        asked.append(one.overrides)
        search.tell(one, float(number % 5), {})
    assert asked == runs(texts)
    best = search.best()
    assert best is not None
    assert (best.number, best.value) == (4, 4.0)


def test_a_search_goes_on_with_itself_alone(tmp_path: Path) -> None:
    def again(space: tuple[str, ...] = ("lr=interval(0,1)",), **options: object) -> Search:
        fixed: dict[str, object] = {"goal": "minimize", "metric": "loss", "seed": 1, "sources": "a"}
        return Search(space, tmp_path / "it", **{**fixed, **options})  # type: ignore[arg-type]

    assert again().seed == again(seed=None).seed == 1
    for told, options in (
        ("goal", {"goal": "maximize"}),
        ("goal", {"metric": "other"}),
        ("sampler", {"sampler": "random"}),
        ("space", {"space": ("lr=interval(0,2)",)}),
        ("seed", {"seed": 2}),
        ("sources or command", {"sources": "b"}),
    ):
        with pytest.raises(Conflict, match=f"another {told}$"):
            again(**options)  # type: ignore[arg-type]
    for wrong, texts in (("nothing to choose", ["a=1"]), ("no end of values", ["a=interval(1,2)"])):
        with pytest.raises(BadInput, match=wrong):
            Search(texts, tmp_path / "other", goal="minimize", metric="m", sampler="grid")
    with pytest.raises(BadInput, match="1,000,000 runs"):
        Search(["a=range(1000)", "b=range(1000)"], tmp_path / "x", goal="minimize", metric="m", sampler="grid")


def test_values_of_secrets_stay_out_of_the_journal(tmp_path: Path) -> None:
    search = Search(["db.password=canary1,canary2", "a=1,2"], tmp_path, goal="minimize", metric="m", seed=1)
    values = []
    for _ in range(4):
        asked = search.ask()
        values.append(asked.overrides[0].value)
        search.tell(asked, 1.0, {})
    assert set(values) == {"canary1", "canary2"}
    assert "canary" not in (tmp_path / FILE).read_text()


SCRIPT = """
import json, os, sys, time
given = dict(word.split("=") for word in sys.argv[1:])
if os.environ.get("SLOW") and os.path.exists(os.environ["SLOW"]):
    time.sleep(60)
lr, depth = float(given["lr"]), int(given["depth"])
told = {"val": {"loss": (lr - 0.3) ** 2 + depth}, "steps": depth}
print(json.dumps(told if depth != 3 else {"steps": 3}))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("lr: 0.5\ndepth: ???\nname: run-${lr}\n")
    Path("train.py").write_text(SCRIPT)
    return tmp_path


RUN = f"{sys.executable} train.py {{overrides}}"
SWEEP = ["base.yaml", "--run", RUN, "--minimize", "val.loss"]
CHOICES = ["--", "lr=interval(0,1)", "depth=1,2"]


def invoke(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(sweep, list(words), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_lets_an_optimiser_choose(folder: Path) -> None:
    told = json.loads(invoke(*SWEEP, "--trials", "9", "--seed", "1", "-j", "2", "--folder", "a", "--json", *CHOICES))
    rows = told["runs"]
    losses = [row["metrics"]["val"]["loss"] for row in rows]
    assert losses.index(min(losses)) == told["best"]
    assert told["seed"] == 1
    assert [row["number"] for row in rows] == [*range(9)]
    assert json.loads(Path("a/results.json").read_text()) == rows
    assert all(Path(row["config"]).exists() and row["hash"][:16] in row["config"] for row in rows)
    first = json.loads(invoke(*SWEEP, "--trials", "5", "--seed", "1", "-j", "2", "--folder", "b", "--json", *CHOICES))
    assert [row["hash"] for row in first["runs"]] == [row["hash"] for row in rows[:5]]
    again = invoke(*SWEEP, "--trials", "9", "-j", "2", "--folder", "b", "--resume", *CHOICES)
    after = json.loads(Path("b/results.json").read_text())
    assert [row["hash"] for row in after] == [row["hash"] for row in rows]
    assert after[:5] == first["runs"]  # not run again
    assert f"Best: run {told['best']}, val.loss {min(losses)}: lr=" in again
    assert "9 runs are in b, seed 1." in again
    shown = invoke(*SWEEP, "--sampler", "grid", "--folder", "c", "--", "lr=0.1,0.3", "depth=range(1,4)", code=1)
    assert "Best: run 3, val.loss 1.0: lr=0.3 depth=1\n" in shown
    assert "Run 2 told no number 'val.loss' in the last line of its output." in shown


def test_a_plain_sweep_tells_the_best_and_goes_on(folder: Path) -> None:
    words = [*SWEEP, "--folder", "it"]
    values = ["--", "lr=0.1,0.2", "depth=3,1"]
    assert "Best: run 3, val.loss 1.01" in invoke(*words, *values, code=1)
    before = json.loads(Path("it/results.json").read_text())
    Path("train.py").write_text(SCRIPT.replace("depth != 3", "True"))
    assert "Best: run 3" in invoke(*words, "--resume", *values)
    after = json.loads(Path("it/results.json").read_text())
    assert [row for row in after if row in before] == [before[1], before[3]]
    with pytest.raises(Conflict, match="it holds a sweep already"):
        invoke(*words, *values)


def test_options_that_do_not_go_together_are_told(folder: Path) -> None:
    for words, told in (
        ([*SWEEP, "--maximize", "x"], "exclude each other"),
        (["base.yaml", "--trials", "2", "--minimize", "x"], "no command to measure"),
        (["base.yaml", "--run", RUN, "--trials", "2"], "needs --minimize METRIC"),
        ([*SWEEP, "--sampler", "tpe"], "--sampler tpe needs --trials"),
        ([*SWEEP, "--seed", "2"], "--seed is for --trials"),
        ([*SWEEP, "--resume"], "--resume needs --folder"),
        ([*SWEEP, "--trials", "2", "--run", "x {nothing}"], "there is no {nothing}"),
    ):
        with pytest.raises(BadInput) as caught:
            invoke(*words, *CHOICES)
        assert told in caught.value.message
    assert not list(Path("sweeps").glob("*/*"))


def test_a_search_that_was_killed_goes_on(folder: Path) -> None:
    words = [*SWEEP, "--trials", "6", "--seed", "2", "--folder"]
    whole = json.loads(invoke(*words, "whole", "--json", *CHOICES))
    assert invoke(*words[:-3], "--seed", "2", "--trials", "3", "--folder", "part", *CHOICES)
    flag = folder / "slow"
    flag.touch()
    command = [sys.executable, "-m", "modelkeep", "config", "sweep", *words, "part", "--resume", *CHOICES]
    child = subprocess.Popen(command, env={**os.environ, "SLOW": str(flag)}, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not list(Path("part").glob("0003-*.out")):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.02)
        with pytest.raises(Conflict, match="another sweep works in part"):
            invoke(*words, "part", "--resume", *CHOICES)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    flag.unlink()
    found = json.loads(invoke(*words, "part", "--resume", "--json", *CHOICES))
    assert [row["hash"] for row in found["runs"]] == [row["hash"] for row in whole["runs"]]
    assert found["best"] == whole["best"]
