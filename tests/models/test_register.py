"""Registering, promoting, rolling back and taking back; also by many at once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Conflict, Error, Missing, Unreachable
from modelkeep.models.register import deprecate, deregister, promote, register, rollback, send, unassign
from modelkeep.models.registry import Registry
from tests.code.repositories import commit, git, repository
from tests.models.registries import commits, make, registry


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    return registry(tmp_path / "r", commits=5)


def versions(models: Registry, count: int = 4) -> list[str]:
    """Registers the first commits as v0.0.1, v0.0.2 …"""
    return [register(models, "m", rev=one).version for one in commits(models)[:count]]


def test_versions_go_up(models: Registry) -> None:
    a, b, c, d, e = commits(models)
    assert register(models, "m", rev=a).version == "v0.0.1"
    assert register(models, "m", rev=b).version == "v0.0.2"
    assert register(models, "m", "1.9.0", rev=c).version == "v1.9.0"
    assert register(models, "m", bump="minor", rev=d).version == "v1.10.0"
    last = register(models, "m", bump="major", rev=e, text="All new", by="Zoë <z@example.org>")
    assert (last.version, last.number, last.by, last.event.text) == ("v2.0.0", 5, "Zoë <z@example.org>", "All new")
    said = git(models.git.root, "cat-file", "tag", "m@v2.0.0")
    assert "\n\nRegistering artifact m version v2.0.0\n\nAll new\n\nModelkeep-Number: 5\n" in said


def test_a_version_never_changes(models: Registry) -> None:
    versions(models, 2)
    fresh = commits(models)[2]
    with pytest.raises(Conflict, match=r"m@v0\.0\.1 was registered by Ann .* at commit") as told:
        register(models, "m", "v0.0.1", rev=fresh)
    assert "register m v0.0.3" in told.value.hint
    with pytest.raises(Conflict, match="a commit has one version"):
        register(models, "m", "v5.0.0", rev=commits(models)[0])
    deregister(models, "m@v0.0.1")
    with pytest.raises(Conflict, match="then deregistered"):
        register(models, "m", rev=commits(models)[0])
    with pytest.raises(Conflict, match="then deregistered"):
        register(models, "m", "v0.0.1", rev=fresh)
    assert register(models, "other", rev=commits(models)[0]).version == "v0.0.1"
    assert register(models, "m", rev=fresh).number == 3


@pytest.mark.parametrize("name", ["modèle", "a b", "a..b", "x" * 3 + "/", "a//b", "m@v1", "--force"])
def test_names_that_are_refused_leave_nothing(models: Registry, name: str) -> None:
    with pytest.raises(BadInput):
        register(models, name)
    assert git(models.git.root, "tag") == ""


def test_slashes_and_folders(models: Registry) -> None:
    register(models, "teams/risk", rev="HEAD~1")
    register(models, "apps/eu:risk", rev="HEAD~1")
    promote(models, "teams/risk@1", "eu/prod")
    promote(models, "apps/eu:risk@1", "prod")
    assert git(models.git.root, "tag").split() == [
        "apps/eu=risk#prod#1", "apps/eu=risk@v0.0.1", "teams/risk#eu/prod#1", "teams/risk@v0.0.1",
    ]  # fmt: skip
    models.refresh()
    assert models.resolve("teams/risk@eu/prod").version == "v0.0.1"
    assert models.resolve("apps/eu:risk#prod").version == "v0.0.1"


def test_promoting(models: Registry) -> None:
    versions(models, 2)
    first = promote(models, "m@1", "production", text="Go")
    assert (first.version.version, first.tags, first.before) == ("v0.0.1", ("m#production#1",), None)
    again = promote(models, "m@v0.0.1", "production")
    assert again.tags == ()
    second = promote(models, "m@latest", "production")
    assert second.before is not None
    assert (second.version.stages, second.before.version) == (("production",), "v0.0.1")
    assert promote(models, "m@production", "archive").version.stages == ("archive", "production")
    assert next(one.text for one in models.history("m") if one.stage) == "Go"
    with pytest.raises(Missing):
        promote(models, "m@9", "production")
    with pytest.raises(BadInput, match="no name for a stage"):
        promote(models, "m@1", "pro duction")


def test_stages_that_the_repository_allows(models: Registry) -> None:
    versions(models, 1)
    (models.git.root / ".gto").write_text("stages: [dev, prod]\n")
    assert promote(models, "m@1", "dev").tags
    with pytest.raises(BadInput, match="names dev, prod"):
        promote(models, "m@1", "production")


def test_rolling_back_goes_down_step_by_step(models: Registry) -> None:
    versions(models, 4)
    with pytest.raises(Missing, match="no version ever stood in production"):
        rollback(models, "m", "production")
    for number in (1, 2, 3, 4):
        promote(models, f"m@{number}", "production")
    assert rollback(models, "m", "production", text="Worse").version.number == 3
    assert rollback(models, "m", "production").version.number == 2
    promote(models, "m@4", "production")
    assert rollback(models, "m", "production").version.number == 2
    done = rollback(models, "m", "production")
    assert (done.version.number, done.before.number if done.before else 0) == (1, 2)
    with pytest.raises(Missing, match=r"nothing stood in production before v0\.0\.1") as told:
        rollback(models, "m", "production")
    assert "promote m@VERSION production" in told.value.hint
    assert [one.version.number for one in models.held("m", "production") if one.version] == [1, 2, 3, 4, 3, 2, 4, 2, 1]


def test_rolling_back_passes_over_what_was_deregistered(models: Registry) -> None:
    versions(models, 3)
    for number in (1, 2, 3):
        promote(models, f"m@{number}", "production")
    deregister(models, "m@2")
    assert rollback(models, "m", "production").version.number == 1
    promote(models, "m@3", "production")
    deregister(models, "m@1")
    with pytest.raises(Missing, match=r"was deregistered: v0\.0\.1"):
        rollback(models, "m", "production")


def test_deregistering_the_one_in_production_brings_the_one_before_back(models: Registry) -> None:
    versions(models, 2)
    promote(models, "m@1", "production")
    promote(models, "m@2", "production")
    gone = deregister(models, "m@production", text="Leaks")
    assert gone.version.gone is not None
    assert (gone.version.number, gone.version.gone.text, gone.tags) == (2, "Leaks", ("m@v0.0.2!",))
    assert models.stages("m")["production"].number == 1
    with pytest.raises(Missing, match="was deregistered"):
        deregister(models, "m@2")
    with pytest.raises(Missing, match="was deregistered"):
        promote(models, "m@v0.0.2", "production")


def test_emptying_a_stage(models: Registry) -> None:
    versions(models, 3)
    for number in (1, 2, 3):
        promote(models, f"m@{number}", "production")
    assert [one.version.number for one in unassign(models, "m", "production", version="v0.0.3")] == [3]
    assert models.stages("m")["production"].number == 2
    assert [one.version.number for one in unassign(models, "m", "production")] == [1, 2]
    assert models.stages("m") == {}
    with pytest.raises(Missing, match="does not stand in production"):
        unassign(models, "m", "production")
    assert promote(models, "m@2", "production").tags == ("m#production#7",)


def test_deprecating(models: Registry) -> None:
    versions(models, 1)
    assert deprecate(models, "m", text="Old") == "m@deprecated"
    assert models.artifact("m").deprecated is not None
    with pytest.raises(Conflict, match="deprecated by Ann"):
        deprecate(models, "m")
    promote(models, "m@1", "dev")
    assert models.artifact("m").deprecated is None
    assert deprecate(models, "m") == "m@deprecated#2"
    assert models.artifact("m").deprecated is not None


def test_what_is_done_in_one_second_keeps_its_order_for_gto_too(models: Registry) -> None:
    versions(models, 2)
    promote(models, "m@1", "production")
    promote(models, "m@2", "production")
    rollback(models, "m", "production")
    at = [one.at_ns for one in models.history("m")]
    assert at == sorted(set(at))


def test_a_clock_far_ahead_is_not_followed(models: Registry) -> None:
    make(models, "m@v1.0.0", commits(models)[0], "Registering artifact m version v1.0.0", at_s=10**9)
    promote(models, "m@1", "production")
    assert models.history("m")[0].at_ns < models.history("m")[1].at_ns or models.stages("m")["production"].number == 1
    assert models.history("m")[-1].at_ns > models.history("m")[0].at_ns


SCRIPT = """
import sys
from modelkeep.code.repository import Git
from modelkeep.core.errors import Conflict
from modelkeep.models.register import promote, register
from modelkeep.models.registry import Registry
root, kind, rev = sys.argv[1:]
found = Registry(Git(root))
try:
    if kind == "same":
        print(register(found, "m", "v1.0.0", rev=rev).commit)
    elif kind == "next":
        print(register(found, "m", rev=rev).version)
    else:
        print(*promote(found, "m@" + rev, kind).tags)
except Conflict as error:
    print("conflict", error.message, "|", error.hint)
"""


def at_once(root: Path, kind: str, revs: list[str]) -> list[str]:
    def one(rev: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(root), kind, rev], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    with ThreadPoolExecutor(len(revs)) as pool:
        return list(pool.map(one, revs))


def test_one_version_by_many_processes_at_once_is_one(models: Registry) -> None:
    revs = commits(models)[:4]
    told = at_once(models.git.root, "same", revs)
    (winner,) = [one for one in told if not one.startswith("conflict")]
    assert winner in revs
    assert all("m@v1.0.0 was registered by Ann" in one and "v1.0.1" in one for one in told if one != winner)
    models.refresh()
    assert models.resolve("m@v1.0.0").commit == winner


def test_next_versions_by_many_processes_at_once_are_all_different(models: Registry) -> None:
    told = at_once(models.git.root, "next", commits(models)[:4])
    assert sorted(told) == ["v0.0.1", "v0.0.2", "v0.0.3", "v0.0.4"]
    models.refresh()
    assert [one.number for one in models.versions("m")] == [1, 2, 3, 4]
    told = at_once(models.git.root, "production", ["1", "2", "3"])
    assert sorted(told) == ["m#production#1", "m#production#2", "m#production#3"]


def test_two_clones_push_the_same_version(models: Registry, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(models.git.root), "hub.git")
    clones = []
    for name in ("one", "two"):
        git(tmp_path, "clone", "-q", str(tmp_path / "hub.git"), name)
        git(tmp_path / name, "config", "user.name", name)
        git(tmp_path / name, "config", "user.email", f"{name}@example.org")
        clones.append(Registry(Git(tmp_path / name)))
    one, two = clones
    send(one, [register(one, "m", "v1.0.0").event.tag], "origin")
    late = register(two, "m", "v1.0.0", rev="HEAD~1")
    with pytest.raises(Conflict, match="nothing was done here either") as told:
        send(two, [late.event.tag], "origin")
    assert "git fetch --tags origin" in told.value.hint
    assert git(two.git.root, "tag") == ""
    git(two.git.root, "fetch", "-q", "--tags")
    two.refresh()
    assert two.resolve("m@1").by == "one <one@example.org>"
    git(two.git.root, "remote", "add", "away", str(tmp_path / "away.git"))
    made = register(two, "m", rev="HEAD~1")
    with pytest.raises((Missing, Unreachable)):
        send(two, [made.event.tag], "away")
    assert two.resolve("m@latest").version == "v1.0.1"


def test_who_git_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path / "r", user=False)
    commit(root, {"a": b""})
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git(root, "config", "user.useConfigOnly", "true")
    with pytest.raises(Error) as told:
        register(Registry(Git(root)), "m")
    assert "user.name" in told.value.hint
