"""push, pull, fetch, verify and gc as people run them: exit codes, JSON, words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from modelkeep.cli.commands import modelkeep
from modelkeep.core.errors import Corrupt, Missing
from tests.data.transfers import Ground, ground, spoil


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    found = ground(tmp_path)
    found.folder("data", 5)
    monkeypatch.chdir(found.root)
    return found


def run(*words: str) -> Result:
    return CliRunner().invoke(modelkeep, list(words))


def answer(*words: str) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_push_pull_and_fetch_tell_what_they_did(here: Ground) -> None:
    assert run("push").stdout == f"Pushed 6 objects, {size_of(here)} (origin).\n"
    assert run("push").stdout == "Everything is up to date (origin).\n"
    assert answer("push") == {
        "remotes": ["origin"],
        "objects": 0,
        "bytes": 0,
        "already_there": 6,
        "healed": [],
        "faults": [],
    }
    here.lose_cache()
    assert answer("fetch")["objects"] == 6
    here.lose_cache()
    here.lose("data")
    pulled = answer("pull")
    assert pulled["objects"] == 6
    assert pulled["checked_out"]["added"] == ["data/"]
    assert run("pull").stdout == "Everything is up to date (origin).\n"


def size_of(here: Ground) -> str:
    from modelkeep.cli.transfers import size

    return size(sum(path.stat().st_size for path in here.objects().values()))


def test_a_corrupt_remote_object_ends_with_an_answer_and_an_error(here: Ground) -> None:
    run("push")
    here.lose_cache()
    spoil(next(path for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir")))
    result = run("pull", "--json")
    assert isinstance(result.exception, Corrupt)
    [fault] = json.loads(result.stdout)["faults"]
    assert fault["kind"] == "corrupt"
    assert fault["path"].startswith("data/")


def test_a_missing_object_ends_with_missing(here: Ground) -> None:
    run("push")
    here.lose_cache()
    next(path for oid, path in here.objects(here.remote).items() if not oid.endswith(".dir")).unlink()
    assert isinstance(run("fetch").exception, Missing)


def test_verify_exits_1_when_something_bad_is_left(here: Ground) -> None:
    assert run("verify").stdout.startswith("Read 6 objects")
    spoil(next(path for oid, path in here.objects().items() if not oid.endswith(".dir")))
    result = run("verify", "--no-heal")
    assert result.exit_code == 1
    assert "data/" in result.stdout
    found = answer("push")
    assert len(found["healed"]) == 1
    assert answer("verify", "-r", "origin")["sound"] is True


def test_gc_only_tells_until_it_is_told_to(here: Ground) -> None:
    here.write("data/more", b"more")
    here.add("data")
    (here.root / "data.dvc").unlink()
    assert "took away 0 objects" in run("gc", "--yes").stdout  # everything is younger than the grace
    told = run("gc", "--grace", "0")
    assert "would take away 8 objects" in told.stdout
    assert "add --yes" in told.stderr
    assert len(here.objects()) == 8
    assert "would take away" in run("gc", "--grace", "0", "--yes", "--dry").stdout
    done = answer("gc", "--grace", "0", "-f")["collected"][0]
    assert (done["done"], done["objects"]) == (True, 8)
    assert here.objects() == {}
    assert answer("gc", "--undo", "--when", done["trash"])["objects"] == 8
    assert len(here.objects()) == 8


def test_remote_without_cloud_is_refused(here: Ground) -> None:
    assert run("gc", "-r", "origin").exception is not None


@pytest.mark.parametrize("verb", ["push", "pull", "fetch", "verify", "gc"])
def test_every_option_has_help(verb: str) -> None:
    command = modelkeep.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    assert all(option.help for option in command.params if isinstance(option, click.Option))
