"""`modelkeep code`: who changed what when, against a real repository, a real server and real webhooks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelkeep.cli import commits as known
from modelkeep.cli.commands import modelkeep
from modelkeep.code import history, tags
from modelkeep.code.repository import Git
from modelkeep.code.webhooks import github_signature
from modelkeep.core.encoding import MEDIA_TYPE, Envelope, Predictions, Release, encode
from modelkeep.core.errors import Missing
from modelkeep.core.ids import token
from modelkeep.server.settings import CodeSettings
from tests.code import payloads
from tests.code.repositories import commit, git, repository
from tests.server.conftest import Running, running

SECRET = "hunter2"


class World:
    """A repository whose code served in two versions, and the server that was told of it."""

    def __init__(self, server: Running, root: Path) -> None:
        self.server, self.root = server, root
        skewed = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2200000000 +0000")
        message = "Second\n\nCo-authored-by: Cy <cy@example.org>\n"
        who = {"GIT_AUTHOR_NAME": "Bo", "GIT_AUTHOR_EMAIL": "bo@example.org"}
        self.first = commit(root, {"train.py": b"a\nb\n", "data.csv": b"1\n"}, "First")
        self.second = commit(root, {"train.py": b"a\nc\nd\n"}, message, **skewed, **who)
        self.third = commit(root, {"serve.py": b"x\n"}, "Third \x1b[31m")
        git(root, "remote", "add", "origin", f"https://me:{SECRET}@gitlab.example.org/group/sub/model.git")
        with Git(root) as repo:
            tags.create(repo, "churn@v1.0.0", self.first, "Registering artifact churn version v1.0.0")
            tags.create(repo, "churn@v2.0.0", self.third, "Registering artifact churn version v2.0.0")
        self.push(self.first, "0" * 40)
        self.serve("1" * 32, "v1.0.0", self.first)
        self.push(self.third, self.first)
        self.serve("2" * 32, "v2.0.0", self.third, dirty=True)

    def push(self, code: str, before: str) -> None:
        body = json.dumps({
            **payloads.HUB_PUSH, "before": before, "after": code, "head_commit": {**payloads.HUB_COMMIT, "id": code},
        }).encode()  # fmt: skip
        headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": github_signature(SECRET, body)}
        assert self.server.client.post("/api/v1/webhooks/github", content=body, headers=headers).status_code == 200
        time.sleep(0.002)  # no two moments are one

    def serve(self, release: str, version: str, code: str, *, dirty: bool = False) -> None:
        now = time.time_ns()
        extra = json.dumps(
            {"remote": "https://gitlab.example.org/group/sub/model.git"} | ({"patch": "d" * 32} if dirty else {})
        )
        told = Release(release, now, "churn", version, code=code, dirty=dirty, host="h", process="p", extra=extra)
        rows = Predictions("churn", version, release, ["i" + release], [now + 10**9], {"x": [1]}, [True])
        body = encode(Envelope(token(), sent_at=now, releases=[told], predictions=[rows]))
        answer = self.server.client.post("/api/v1/ingest", content=body, headers={"Content-Type": MEDIA_TYPE})
        assert answer.status_code == 200, answer.text
        time.sleep(0.002)

    def run(self, *words: str, folder: Path | None = None, url: str | None = None) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder or self.root)
            patch.setenv("MODELKEEP_URL", url or str(self.server.client.base_url).rstrip("/"))
            return CliRunner().invoke(modelkeep, ["code", *words])

    def json(self, *words: str, folder: Path | None = None) -> dict[str, object]:
        done = self.run(*words, "--json", folder=folder)
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("code")
    webhooks: list[dict[str, object]] = [{"name": "hub", "kind": "github", "secret": SECRET}]
    with running(folder / "data", code=CodeSettings(webhooks=webhooks)) as server:
        yield World(server, repository(folder / "r"))


def found(rows: object, name: str, value: object) -> dict[str, object]:
    assert isinstance(rows, list)
    return dict(next(row for row in rows if row[name] == value))


def test_four_times_of_a_commit_are_kept_apart_and_a_skewed_clock_orders_nothing(world: World) -> None:
    listed = world.json("log", "churn@v1.0.0..churn@v2.0.0")
    assert isinstance(listed["commits"], list)
    assert [row["id"] for row in listed["commits"]] == [world.third, world.second]
    row = found(listed["commits"], "id", world.second)
    assert str(row["committed"]).startswith("2039-")
    assert str(row["pushed"]) < str(row["deployed"]) < str(row["first_prediction"]) < "2039"
    assert (row["author"], row["committer"]) == ("Bo <bo@example.org>", "Ann <ann@example.org>")
    assert row["coauthors"] == ["Cy <cy@example.org>"]
    assert row["pushed_by"] == "bo"
    assert row["link"] == f"https://gitlab.example.org/group/sub/model/-/commit/{world.second}"
    before = world.json("log", world.first)
    old = found(before["commits"], "id", world.first)
    assert str(old["deployed"]) < str(row["pushed"])


@pytest.mark.parametrize("words", [("churn",), ("--model", "churn")])
def test_a_models_versions_come_with_their_commits_the_last_deployed_first(
    world: World, words: tuple[str, ...]
) -> None:
    told = world.json("log", *words, "--files")
    assert isinstance(told["versions"], list)
    second, first = told["versions"]
    assert (second["version"], second["code"], second["before"]) == ("v2.0.0", world.third, "v1.0.0")
    assert (first["version"], first["code"], first["before"]) == ("v1.0.0", world.first, None)
    assert [row["id"] for row in second["commits"]] == [world.third, world.second]
    assert {row["path"]: (row["state"], row["added"], row["deleted"]) for row in second["files"]} == {
        "train.py": ("M", 2, 1),
        "serve.py": ("A", 1, 0),
    }
    assert (second["dirty"], second["patch"]) == (True, "d" * 32)
    assert second["compare"].endswith(f"/-/compare/{world.first}...{world.third}")
    assert second["registered_by"] == "Ann <ann@example.org>"
    assert first["deployed"] < second["deployed"] < second["first_prediction"]


def test_people_read_the_same_and_see_no_escape_and_no_secret(world: World) -> None:
    for words in (
        ("log",),
        ("log", "churn", "--files"),
        ("log", "HEAD~1..", "--files"),
        ("diff", "churn@1", "churn@latest"),
    ):
        done = world.run(*words)
        assert done.exit_code == 0, done.output
        assert "\x1b[31m" not in done.output
        assert SECRET not in done.output
    text = world.run("log", "churn").stdout
    assert "with changes that were never committed" in text
    assert "Bo with Cy, put in by Ann" in text
    assert "v1.0.0 → v2.0.0: 2 commits, 2 files, +3 -1" in text
    assert "M  train.py  +2 -1" in world.run("log", "-n", "2", "--files").stdout


@pytest.mark.parametrize("a", ["churn@v1.0.0", "churn@1", "11111111", "HEAD~2"])
@pytest.mark.parametrize("b", ["churn@v2.0.0", "churn@latest", "2" * 32, "main"])
def test_both_sides_may_be_named_in_every_way(world: World, a: str, b: str) -> None:
    told = world.json("diff", a, b)
    assert (told["a"]["code"], told["b"]["code"]) == (world.first, world.third)  # type: ignore[index]
    assert (told["relation"], told["ahead"], told["behind"]) == ("ahead", 2, 0)
    assert [row["path"] for row in told["files"]] == ["serve.py", "train.py"]  # type: ignore[attr-defined]
    assert str(told["link"]).endswith(f"/-/compare/{world.first}...{world.third}")


def test_a_diff_shows_lines_and_only_the_paths_that_were_named(world: World) -> None:
    text = world.run("diff", "churn@v1.0.0", "churn@v2.0.0", "--patch", "--path", "train.py").stdout
    assert "+c\n+d\n" in text
    assert "serve.py" not in text
    told = world.json("diff", "churn@v1.0.0", "churn@v2.0.0", "--path", "serve.py")
    assert [row["path"] for row in told["files"]] == ["serve.py"]  # type: ignore[attr-defined]
    assert "changes that were never committed: patch dddd" in world.run("diff", "churn@1", "22222222").stdout


def test_without_a_repository_the_server_alone_answers(world: World, tmp_path: Path) -> None:
    told = world.json("log", "churn", folder=tmp_path)
    assert isinstance(told["versions"], list)
    assert [row["version"] for row in told["versions"]] == ["v2.0.0", "v1.0.0"]
    assert told["versions"][0]["note"] == "There is no git repository here to look at."
    assert told["versions"][0]["link"].endswith(world.third)
    done = world.run("log", folder=tmp_path)
    assert isinstance(done.exception, Missing)
    assert "no git repository here" in done.exception.message


def test_without_a_server_the_repository_alone_answers(world: World) -> None:
    done = world.run("log", "churn", url="http://127.0.0.1:1")
    assert done.exit_code == 0, done.output
    assert "No server answers" in done.stderr
    assert "2 commits" in done.stdout
    assert done.stdout.index("v2.0.0") < done.stdout.index("v1.0.0  ")


@pytest.mark.parametrize(
    "words", [("diff", "churn@v9.0.0"), ("log", "nothing"), ("diff", "a..b"), ("log", "--model", "nothing")]
)
def test_what_nobody_knows_is_said_with_a_next_step(world: World, words: tuple[str, ...]) -> None:
    done = world.run(*words)
    assert isinstance(done.exception, Missing)
    assert done.exception.hint


def test_a_version_whose_commit_is_gone_is_said_and_the_others_are_shown(world: World) -> None:
    lost = "f" * 40
    world.serve("3" * 32, "v3.0.0", lost)
    try:
        told = world.json("log", "churn")
        assert isinstance(told["versions"], list)
        assert "never fetched, or the history was rewritten" in told["versions"][0]["note"]
        assert told["versions"][1]["version"] == "v2.0.0"
        assert told["versions"][1]["commits"]
    finally:
        with world.server.house.entries.begin() as connection:
            connection.exec_driver_sql("DELETE FROM release WHERE id = ?", ("3" * 32,))


def test_the_first_event_that_held_a_commit_counts(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    one = commit(root, {"a": b"1"})
    two = commit(root, {"a": b"2"})
    git(root, "checkout", "-qb", "side", one)
    side = commit(root, {"b": b"1"})
    git(root, "checkout", "-q", "main")
    git(root, "-c", "user.name=A", "merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = git(root, "rev-parse", "HEAD")
    events = [
        known.Event(merge, "3"),
        known.Event(one, "2"),
        known.Event(one, "5"),
        known.Event("e" * 40, "1"),
        known.Event(side, "4"),
    ]
    with Git(root) as repo:
        listed = history.log(repo, "main")
        held = known.first_holding(repo, listed, events)
        assert {name: event.at for name, event in held.items()} == {one: "2", two: "3", side: "3", merge: "3"}
        part = history.log(repo, two, limit=1)  # what held it came after what is listed
        assert {name: event.at for name, event in known.first_holding(repo, part, events).items()} == {two: "3"}
        assert known.first_holding(repo, part, []) == {}
