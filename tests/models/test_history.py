"""Thirty releases of the flights model, and every question about them answered by one command."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modelkeep.code.patch import make
from modelkeep.code.repository import Git
from modelkeep.core import encoding
from modelkeep.core.clock import DAY, HOUR, MINUTE
from modelkeep.core.encoding import Envelope, Predictions, Release
from modelkeep.core.times import iso
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.push import push
from modelkeep.models.register import promote, register, rollback
from modelkeep.models.registry import Registry
from modelkeep.models.version import Made, data_version, details, trailers
from tests.code.payloads import HUB_COMMIT, HUB_PUSH
from tests.code.repositories import git
from tests.data.workspaces import repository
from tests.models.test_restore import look
from tests.server.conftest import Running, running
from tests.server.test_webhooks import SECRET, WEBHOOKS, hub

RELEASES = 30
DIRTY = 17
BASE = time.time_ns() // DAY * DAY - (RELEASES + 1) * DAY
PEOPLE = ("Ann <ann@example.org>", "Bo <bo@example.org>", "Cy <cy@example.org>")
REMOTE = "https://oauth2:t0ken@gitlab.example.org/air/models/flights.git"

pytestmark = pytest.mark.timeout(240)


class Story(NamedTuple):
    root: Path
    commits: list[str]
    server: Running
    dirty: dict[str, tuple[bytes | str, bool]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Thirty commits, each with other data and another model that learned from it; each served for a day."""
    from modelkeep.cli.demo.flights import FEATURES, flights
    from modelkeep.cli.demo.model import Delays
    from modelkeep.server.settings import CodeSettings

    folder = tmp_path_factory.mktemp("history")
    frame = flights()
    frame = frame[frame["late"].notna()]
    root = folder / "r"
    repo = repository(
        root, git=True, config=f"[core]\n    remote = r\n['remote \"r\"']\n    url = {folder / 'remote'}\n"
    )
    git(root, "remote", "add", "origin", REMOTE)
    (root / "dvc.yaml").write_text(
        "artifacts:\n  flight-delay:\n    path: model.pkl\n    type: model\n    meta: {features: ["
        + ", ".join(FEATURES)
        + "], log: train.log}\nmetrics:\n- metrics.json\n"
    )
    registry, commits, dirty = Registry(Git(root)), [], {}
    settings = CodeSettings(webhooks=WEBHOOKS)  # type: ignore[arg-type]
    with running(folder / "server", code=settings) as server:
        for number in range(RELEASES):
            part = frame.iloc[number::1200]
            part.to_csv(root / "flights.csv", index=False)
            model = Delays(part)
            (root / "model.pkl").write_bytes(pickle.dumps(model))
            (root / "metrics.json").write_text(json.dumps({"late": float(part["late"].mean())}))
            (root / "train.py").write_text(f"ROWS = {number * 700}\n")
            add(repo, [root / "flights.csv", root / "model.pkl"])
            commits.append(_commit(root, number))
            version = f"v1.{number}.0"
            said = trailers(registry.git, "HEAD", "flight-delay", Made(data=("flights.csv",)))
            register(registry, "flight-delay", version, trailers=said, by=PEOPLE[number % 3])
            promote(registry, f"flight-delay@{version}", "production", by=PEOPLE[number % 3])
            extra: dict[str, object] = {"remote": "gitlab.example.org/air/models/flights.git", "branch": "main"}
            if number == DIRTY:
                (root / "train.py").write_text("ROWS = 'changed by hand'\n")
                (root / "fix.py").write_text("print('never committed')\n")
                dirty = look(root)
                extra |= _patch(root)
            data = data_version(
                one.oid for one in details(registry.git, registry.resolve(f"flight-delay@{version}")).data
            )
            _serve(server, number, commits[-1], data, extra, model.score(part.head(5)).tolist())
            if number == DIRTY:
                (root / "fix.py").unlink()
                git(root, "checkout", "-q", "train.py")
        pushed = {**HUB_COMMIT, "id": commits[-1]}
        body = {"before": commits[-2], "after": commits[-1], "commits": [pushed], "head_commit": pushed}
        assert hub(server, "push", {**HUB_PUSH, **body}, secret=SECRET).status_code == 200
        rollback(registry, "flight-delay", "production", text="Too many false alarms", by=PEOPLE[0])
        push(repo)
        registry.git.close()
        yield Story(root, commits, server, dirty)


def _commit(root: Path, number: int) -> str:
    name, _, address = PEOPLE[number % 3].rstrip(">").partition(" <")
    # The dates of every fifth commit are years off, as on a machine whose clock is wrong.
    at = iso(BASE + number * DAY - (2000 * DAY if number % 5 == 4 else 2 * HOUR))
    who = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": address, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    text = f"Learn from window {number}\n\nCo-authored-by: Di <di@example.org>\n"
    git(root, "add", "-A")
    git(root, "commit", "-qm", text, **who)
    return git(root, "rev-parse", "HEAD").strip()


def _patch(root: Path) -> dict[str, object]:
    found = make(root)
    assert found is not None
    deflated = base64.b64encode(found.deflated).decode()
    return {"patch": found.digest, "patch_size": found.size, "patch_deflate": deflated}


def _serve(server: Running, number: int, commit: str, data: str, extra: dict[str, object], scores: list[float]) -> None:
    at = BASE + number * DAY
    release = Release(
        f"{number:032x}", at, "flight-delay", f"v1.{number}.0", code=commit, dirty="patch" in extra,
        author=PEOPLE[number % 3], data_version=data, host=f"h{number % 2}", process=f"p{number}",
        extra=json.dumps(extra),
    )  # fmt: skip
    rows = Predictions(
        "flight-delay", f"v1.{number}.0", release.id, [f"{number}-{place}" for place in range(len(scores))],
        [at + place * MINUTE + HOUR for place in range(len(scores))], {"distance": [1.0] * len(scores)},
        [score > 0.5 for score in scores], score=scores,
    )  # fmt: skip
    envelope = Envelope(token=f"r{number}", process=f"p{number}", releases=[release], predictions=[rows])
    answer = server.client.post("/api/v1/ingest", content=encoding.encode(envelope))
    assert answer.status_code == 200, answer.text


def ask(story: Story, *words: str) -> Any:
    """What one command answers."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}
    done = subprocess.run(
        [sys.executable, "-m", "modelkeep", *words, "--json"],
        cwd=story.root,
        env={**own, "MODELKEEP_URL": story.server.serving.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "t0ken" not in done.stdout + done.stderr
    return json.loads(done.stdout)


def test_what_changed_between_two_versions(story: Story) -> None:
    told = ask(story, "code", "log", "flight-delay@v1.10.0..flight-delay@v1.12.0", "--files")
    assert [one["id"] for one in told["commits"]] == [story.commits[12], story.commits[11]]
    assert {file["path"] for file in told["commits"][0]["files"]} >= {"train.py", "flights.csv.dvc", "metrics.json"}
    differing = ask(story, "code", "diff", "flight-delay@v1.10.0", "flight-delay@v1.12.0")
    assert "train.py" in {file["path"] for file in differing["files"]}


def test_when_and_by_whom(story: Story) -> None:
    told = ask(story, "code", "log", f"{story.commits[-2]}..{story.commits[-1]}")
    (one,) = told["commits"]
    assert one["author"] == PEOPLE[(RELEASES - 1) % 3]
    assert one["coauthors"] == ["Di <di@example.org>"]
    times = [one[name] for name in ("committed", "pushed", "deployed", "first_prediction")]
    assert all(times)
    assert len(set(times)) == 4
    assert "gitlab.example.org/air/models/flights/-/commit/" in json.dumps(told)


def test_a_wrong_clock_moves_no_deploy(story: Story) -> None:
    told = ask(story, "model", "timeline", "flight-delay", "--limit", "100")["timeline"]
    assert [row["version"] for row in told] == [f"v1.{number}.0" for number in reversed(range(RELEASES))]


def test_what_a_version_was_made_of(story: Story) -> None:
    told = ask(story, "model", "show", "flight-delay@v1.5.0")
    assert told["commit"] == story.commits[5]
    assert [one["path"] for one in told["data"]] == ["flights.csv"]
    assert told["data_version"]
    assert "distance" in told["features"]
    assert "late" in told["metrics"]
    assert told["log"] == "train.log"
    assert told["format"]["executes"] is True  # a pickle


def test_what_stands_in_production_after_a_rollback_and_why(story: Story) -> None:
    told = ask(story, "model", "show", "flight-delay@production")
    assert told["version"] == f"v1.{RELEASES - 2}.0"
    history = json.dumps(ask(story, "model", "history", "flight-delay"))
    assert "Too many false alarms" in history


def test_which_releases_used_this_data(story: Story) -> None:
    wanted = ask(story, "model", "show", "flight-delay@v1.5.0")["data_version"]
    told = story.server.get("/api/v1/lineage", data=wanted[:12])
    assert "v1.5.0" in json.dumps(told)
    assert "v1.6.0" not in json.dumps(told)


def test_the_newest_change_is_the_first_suspect(story: Story) -> None:
    moment = iso(BASE + 12 * DAY + 3 * HOUR)
    first = ask(story, "why", "flight-delay", "--at", moment)["changes"][0]
    assert story.commits[12] in json.dumps(first)


def test_a_release_that_was_never_committed_comes_back(story: Story, tmp_path: Path) -> None:
    told = ask(story, "restore", f"flight-delay@v1.{DIRTY}.0", str(tmp_path / "back"))
    assert sorted(told["patched"]) == ["fix.py", "train.py"]
    assert look(tmp_path / "back") == story.dirty
    moment = iso(BASE + 3 * DAY + HOUR + MINUTE)
    told = ask(story, "restore", f"flight-delay@{moment}", str(tmp_path / "then"), "--no-data")
    assert told["commit"] == story.commits[3]
