"""`mk.load` brings a version once, verified, and ties the process to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelkeep as mk
from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Corrupt, Denied, Missing, Unreachable
from modelkeep.models import load as loading
from modelkeep.models.register import promote, register
from modelkeep.models.registry import Registry
from modelkeep.models.version import Made, trailers
from modelkeep.sdk import client
from modelkeep.sdk.tied import tied
from tests.code.repositories import commit, git, repository
from tests.models.registries import registry
from tests.models.trained import WEIGHTS, trained
from tests.sdk.conftest import Receiver


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    tied.forget()


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Registry]:
    found = trained(tmp_path / "src", tmp_path / "remote")
    for rev in ("HEAD~1", "HEAD"):
        made = trailers(found.git, rev, "churn", Made(configuration="cafe"))
        register(found, "churn", rev=rev, trailers=made)
    promote(found, "churn@1", "production")
    yield found
    found.git.close()


def test_a_version_is_a_path(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models.git.root / "data")
    found = mk.load("churn@production")
    assert found.path.read_bytes() == WEIGHTS
    with open(found, "rb") as file:  # noqa: PTH123
        assert file.read() == WEIGHTS
    assert found.path.name == "model.pkl"
    assert (found.version, found.features, found.metrics["auc"]) == ("v0.0.1", ("income", "age"), 0.9)
    assert found.reference is not None
    assert found.reference.read_bytes() == b"income,age\n1,2\n"
    assert (found.format, found.executes, found.configuration) == ("pickle", True, "cafe")
    assert not os.access(found.path, os.W_OK) or os.geteuid() == 0
    assert found.path.stat().st_mode & 0o222 == 0
    assert mk.load("churn@v0.0.1").path == found.path
    assert mk.load("churn@latest").path != found.path


@pytest.mark.parametrize("address", ["folder", "file"])
def test_from_the_remote_when_the_cache_is_gone(models: Registry, address: str, tmp_path: Path) -> None:
    shutil.rmtree(models.git.root / ".dvc/cache")
    url = str(models.git.root) if address == "folder" else f"file://{models.git.root}"
    assert mk.load("churn@2", repo=url).path.read_bytes() == WEIGHTS
    os.environ[loading.REPOSITORY] = url
    try:
        assert mk.load("churn@2").version == "v0.0.2"
    finally:
        del os.environ[loading.REPOSITORY]


def test_an_exact_version_needs_no_network_a_second_time(models: Registry, tmp_path: Path) -> None:
    url = f"file://{models.git.root}"
    first = mk.load("churn@v0.0.1", repo=url)
    models.git.root.rename(tmp_path / "away")
    with pytest.raises((Unreachable, Missing)):
        mk.load("churn@production", repo=url)
    (tmp_path / "remote").rename(tmp_path / "remote-away")
    assert loading._kept(first.path.parent.parent) == first


def test_unreachable_falls_back_for_an_exact_version_only(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"file://{models.git.root}"
    first = mk.load("churn@v0.0.1", repo=url)

    def away(repo: str = "") -> object:
        raise Unreachable(f"{repo}: no answer")

    monkeypatch.setattr(loading, "open_repository", away)
    assert mk.load("churn@v0.0.1", repo=url) == first
    for asked in ("churn@production", "churn@v0.0.2"):
        with pytest.raises(Unreachable):
            mk.load(asked, repo=url)


def test_what_was_changed_in_the_cache_is_had_again(models: Registry) -> None:
    root = str(models.git.root)
    found = mk.load("churn@1", repo=root)
    found.path.chmod(0o644)
    os.utime(found.path)
    assert mk.load("churn@1", repo=root).path.read_bytes() == WEIGHTS
    found.path.write_bytes(b"x" * len(WEIGHTS))
    assert mk.load("churn@1", repo=root).path.read_bytes() == WEIGHTS
    found.path.unlink()
    assert mk.load("churn@1", repo=root).path.read_bytes() == WEIGHTS
    (found.path.parent.parent / "loaded.json").write_text("{")
    assert mk.load("churn@1", repo=root).path.read_bytes() == WEIGHTS


def test_a_tag_that_was_moved_brings_the_new_commit(models: Registry) -> None:
    root = str(models.git.root)
    first = mk.load("churn@v0.0.1", repo=root)
    git(models.git.root, "tag", "-fa", "churn@v0.0.1", "HEAD", "-m", "moved")
    again = mk.load("churn@v0.0.1", repo=root)
    assert again.commit != first.commit
    assert again.metrics["auc"] == 0.93


def test_a_corrupt_object_is_refused(models: Registry, tmp_path: Path) -> None:
    shutil.rmtree(models.git.root / ".dvc/cache")
    for path in (tmp_path / "remote/files/md5").rglob("*"):
        if path.is_file() and path.read_bytes() == WEIGHTS:
            path.chmod(0o644)
            path.write_bytes(WEIGHTS[::-1])
    with pytest.raises(Corrupt):
        mk.load("churn@1", repo=str(models.git.root))
    assert not list((tmp_path / "xdg/modelkeep/models").rglob("model.pkl"))
    assert not list((tmp_path / "xdg/modelkeep/models").rglob("*.new"))


def test_code_is_refused_when_asked_to(models: Registry) -> None:
    with pytest.raises(Denied, match="executes code"):
        mk.load("churn@1", repo=str(models.git.root), safe=True)
    assert tied.version("churn") is None


def test_a_model_in_git_itself_and_one_that_nobody_names(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    commit(root, {"dvc.yaml": b"artifacts:\n  m: {path: w.json}\n", "w.json": b'{"learner": {}}'})
    with Git(root) as repo:
        register(Registry(repo), "m")
        register(Registry(repo), "other")
    one = mk.load("m@1", repo=root, safe=True)
    assert (one.path.read_bytes(), one.format, one.executes) == (b'{"learner": {}}', "xgboost", False)
    with pytest.raises(Missing, match="nobody says which file") as told:
        mk.load("other@1", repo=root)
    assert "artifacts: other" in told.value.hint
    with pytest.raises(BadInput, match="which version"):
        mk.load("m", repo=root)


def test_many_processes_load_at_once(models: Registry) -> None:
    script = "import sys, modelkeep as mk; print(mk.load('churn@1', repo=sys.argv[1]).path.stat().st_size)"
    shutil.rmtree(models.git.root / ".dvc/cache")
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(models.git.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [one.communicate(timeout=60)[0].strip() for one in running]
    assert told == [str(len(WEIGHTS))] * 4


def test_the_versions_used_longest_ago_leave_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_KEPT", 2)
    found = registry(tmp_path / "r", commits=4)
    for number, rev in enumerate(git(found.git.root, "rev-list", "--reverse", "HEAD").split()):
        made = trailers(found.git, rev, "m", Made(path="train.py"))
        register(found, "m", rev=rev, trailers=made)
        mk.load(f"m@{number + 1}", repo=found.git.root)
    found.git.close()
    kept = sorted(path.parent.name for path in (tmp_path / "xdg/modelkeep/models").rglob("loaded.json"))
    assert kept == ["v0.0.3", "v0.0.4"]


def test_predictions_carry_what_was_loaded(models: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    monkeypatch.setenv("MODELKEEP_URL", receiver.url)
    monkeypatch.setenv("MODELKEEP_SPOOL", "spool")
    monkeypatch.setenv("MODELKEEP_MODEL_VERSION", "from the environment")
    client.reset()
    try:
        root = str(models.git.root)
        mk.log_prediction("churn", {"a": 1}, True)
        first = mk.load("churn@1", repo=root)
        mk.log_prediction("churn", {"a": 1}, True)
        mk.log_prediction("churn", [{"a": 1}, {"a": 2}], [True, False])
        mk.log_prediction("churn", {"a": 1}, True, version="by hand")
        second = mk.load("churn@2", repo=root)
        mk.watch("churn")(lambda row: 0.5)({"a": 1})
        mk.log_prediction("other", {"a": 1}, True)
        assert mk.flush(20)
        releases = {(one.model, one.version): one for body in receiver.envelopes for one in body.releases}
        assert set(releases) == {
            ("churn", "from the environment"), ("churn", "v0.0.1"), ("churn", "by hand"), ("churn", "v0.0.2"),
            ("other", "from the environment"),
        }  # fmt: skip
        assert releases["churn", "v0.0.1"].data_version == first.data_version
        assert releases["churn", "v0.0.2"].data_version == second.data_version != first.data_version
        assert releases["churn", "v0.0.1"].config_version == "cafe"
        assert releases["other", "from the environment"].data_version == ""
        assert len(first.data_version) == 36
    finally:
        client.reset()
        receiver.stop()
