"""GTO reads what we write and we read what it writes, for every kind of event."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from modelkeep.models.register import deprecate, deregister, promote, register, rollback, unassign
from modelkeep.models.registry import Registry
from tests.code.repositories import git
from tests.models.registries import commits, registry
from tests.peers import program

pytestmark = pytest.mark.needs("gto")

SEEN = """
import json, sys
from gto.api import history, show
print(json.dumps({
    "models": show(".", deprecated=False),
    "history": {name: history(".", artifact=name, ascending=True) for name in sys.argv[1:]},
    "versions": {name: show(".", name=name, deprecated=True) for name in sys.argv[1:]},
    "active": {name: show(".", name=name) for name in sys.argv[1:]},
}, default=str))
"""
DONE = """
import sys, time
from gto import api
a, b, c = sys.argv[1:]
def apart():  # GTO orders events by the second
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.02)
api.register(".", "churn", a, version="v1.0.0", author="Ann", author_email="ann@example.org")
api.register(".", "churn", b, message="Second, of GTO", author="Ann", author_email="ann@example.org")
api.register(".", "sub:tree", c)
apart()
api.assign(".", "churn", "production", version="v1.0.0", message="First")
apart()
api.assign(".", "churn", "production", version="v1.0.1")
api.assign(".", "churn", "dev", ref=c, skip_registration=True)
apart()
api.unassign(".", "churn", stage="production", version="v1.0.1")
apart()
api.deregister(".", "churn", version="v1.0.1", message="Leaks")
api.deprecate(".", "sub:tree")
"""


def gto(folder: Path, script: str, *words: str) -> str:
    """Runs Python where GTO is installed; gives what it printed."""
    python = program("gto").with_name("python")
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", script, *words],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gto_reads_every_event_of_ours(tmp_path: Path) -> None:
    models = registry(tmp_path / "r", commits=4)
    for at, one in enumerate(commits(models)[:3]):
        register(models, "churn", rev=one, text=f"number {at}", trailers=[("Data", "md5:0"), ("Metrics", '{"auc":1}')])
    register(models, "sub/folder:other", "v2.0.0-rc.1", rev="HEAD")
    for number in (1, 2, 3):
        promote(models, f"churn@{number}", "production", text="Because")
    promote(models, "churn@2", "eu/dev")
    rollback(models, "churn", "production")
    unassign(models, "churn", "eu/dev")
    deregister(models, "churn@1", text="Wrong data")
    deprecate(models, "sub/folder:other")
    seen = json.loads(gto(models.git.root, SEEN, "churn", "sub/folder:other"))
    assert seen["models"] == {
        "churn": {
            "version": "v0.0.3",
            "stage": {"production": "v0.0.2"},
            "registered": True,
            "active": True,
        }
    }
    ours = [(one.tag, one.version or None, one.stage or None, one.commit) for one in models.history("churn")]
    theirs = [(one["ref"], one["version"], one["stage"], one["commit"]) for one in seen["history"]["churn"]]
    assert theirs == ours
    assert [one["event"] for one in seen["history"]["churn"]] == [
        "registration", "registration", "registration", "assignment", "assignment", "assignment", "assignment",
        "assignment", "unassignment", "deregistration",
    ]  # fmt: skip
    assert [one["version"] for one in seen["active"]["churn"]] == ["v0.0.3", "v0.0.2"]
    assert [one["version"] for one in seen["versions"]["churn"]] == ["v0.0.3", "v0.0.2", "v0.0.1"]
    assert [one["event"] for one in seen["history"]["sub/folder:other"]] == ["registration", "deprecation"]
    assert seen["active"]["sub/folder:other"] == []
    told = subprocess.run(
        [str(program("gto")), "show", "churn#production", "--version"],
        cwd=models.git.root, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == "v0.0.2"


def test_we_read_every_event_of_gto(tmp_path: Path) -> None:
    models = registry(tmp_path / "r", commits=3)
    a, b, c = commits(models)
    gto(models.git.root, DONE, a, b, c)
    assert [
        (one.action, one.version, one.stage, one.commit, one.tag) for one in models.history("churn")
    ] == [
        ("register", "v1.0.0", "", a, "churn@v1.0.0"),
        ("register", "v1.0.1", "", b, "churn@v1.0.1"),
        ("assign", "v1.0.0", "production", a, "churn#production#1"),
        ("assign", "v1.0.1", "production", b, "churn#production#2"),
        ("assign", c, "dev", c, "churn#dev#3"),
        ("unassign", "v1.0.1", "production", b, "churn#production!#4"),
        ("deregister", "v1.0.1", "", b, "churn@v1.0.1!"),
    ]  # fmt: skip
    assert [one.text for one in models.history("churn")] == ["", "Second, of GTO", "First", "", "", "", "Leaks"]
    assert models.resolve("churn@1").by == "Ann <ann@example.org>"
    assert models.stages("churn")["production"].version == "v1.0.0"
    assert models.stages("churn")["dev"].registered is False
    assert [one.version for one in models.versions("churn")] == ["v1.0.0"]
    assert [one.name for one in models.artifacts()] == ["churn"]
    assert [one.name for one in models.artifacts(hidden=True)] == ["churn", "sub:tree"]
    assert models.problems() == []
    seen = json.loads(gto(models.git.root, SEEN, "churn"))
    assert seen["models"]["churn"]["stage"] == {"dev": c, "production": "v1.0.0"}


def test_the_same_first_lines(tmp_path: Path) -> None:
    """A message of ours begins with the very line that GTO writes."""
    ours, theirs = registry(tmp_path / "ours", commits=3), registry(tmp_path / "theirs", commits=3)
    a, b, c = commits(theirs)
    gto(theirs.git.root, DONE, a, b, c)
    for one in commits(ours)[:2]:
        register(ours, "churn", "" if one != commits(ours)[0] else "v1.0.0", rev=one)
    promote(ours, "churn@1", "production")
    promote(ours, "churn@2", "production")
    promote(ours, "churn@2", "dev")
    unassign(ours, "churn", "production", version="v1.0.1")
    register(ours, "sub:tree", rev="HEAD")
    deprecate(ours, "sub:tree")
    for tag in (
        "churn@v1.0.0", "churn#production#2", "churn#production!#4", "sub=tree@v0.0.1", "sub=tree@deprecated",
    ):  # fmt: skip
        mine, gtos = (_subject(models, tag) for models in (ours, theirs))
        assert mine == gtos, tag


def _subject(models: Registry, tag: str) -> str:
    return git(models.git.root, "for-each-ref", "--format=%(contents:subject)", f"refs/tags/{tag}")
