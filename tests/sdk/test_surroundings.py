"""What a release tells of the code beyond its commit: found out aside, never in the model's way."""

from __future__ import annotations

import subprocess
import sys
import threading
from base64 import b64decode
from pathlib import Path

import msgspec
import pytest

from modelkeep.code import patch as patches
from modelkeep.core.encoding import Release
from modelkeep.sdk import surroundings
from modelkeep.sdk.releases import Releases, _is_installed
from modelkeep.sdk.roles import role, roles
from modelkeep.sdk.settings import Settings, read
from tests.code.repositories import commit, git, repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = repository(tmp_path / "r")
    commit(folder, {"train.py": b"x = 1\n"})
    git(folder, "remote", "add", "origin", "https://me:hunter2@git.example.org/team/model.git")
    return folder


def told(releases: Releases) -> list[Release]:
    """What a process tells once everything is known."""
    releases.closing(20.0)
    return releases.announce()


def extra(release: Release) -> dict[str, object]:
    return msgspec.json.decode(release.extra, type=dict[str, object])


def test_a_clean_tree_tells_branch_and_remote_without_its_secret(root: Path) -> None:
    releases = Releases(Settings(), "p", root)
    releases.of("m", "1", 5)
    [release] = told(releases)
    assert extra(release) == {"branch": "main", "remote": "https://git.example.org/team/model.git"}
    assert not release.dirty


def test_a_dirty_tree_is_told_as_a_patch_once_in_a_process(root: Path) -> None:
    (root / "train.py").write_text("x = 2\n")
    (root / "new.py").write_text("y = 1\n")
    (root / ".env").write_text("hunter2\n")
    releases = Releases(Settings(), "p", root)
    releases.of("m", "1", 5)
    releases.of("m", "2", 5)
    first, second = told(releases)
    releases.of("m", "3", 5)
    [third] = releases.announce()
    made = patches.make(root)
    assert made is not None
    for release in (first, second, third):
        said = extra(release)
        assert (said["patch"], said["patch_size"], said["untracked"]) == (made.digest, made.size, 1)
        assert said["patch_left_out"] == [".env"]
        assert release.dirty
    deflated = b64decode(str(extra(first)["patch_deflate"]))
    assert b"+x = 2" in patches.inflated(deflated, made.digest, made.size)
    assert "patch_deflate" not in extra(second)
    assert "patch_deflate" not in extra(third)
    releases.again_all()  # what was told may have been lost
    assert "patch_deflate" in extra(releases.announce()[0])


def test_a_release_never_waits_for_the_patch_and_is_told_again_with_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def slow(folder: Path) -> patches.Patch | None:
        go.wait(30)
        return patches.Patch("d" * 32, 5, b"xx")

    monkeypatch.setattr(surroundings, "make", slow)
    releases = Releases(Settings(), "p", root)
    releases.of("m", "1", 5)
    [release] = releases.announce()
    assert "patch" not in extra(release)
    assert releases.announce() == []
    go.set()
    [again] = told(releases)
    assert (again.id, extra(again)["patch"]) == (release.id, "d" * 32)
    assert releases.announce() == []


@pytest.mark.parametrize("error", [MemoryError("full"), TimeoutError("git took too long"), OSError("disk")])
def test_whatever_goes_wrong_is_said_and_harms_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(folder: Path) -> patches.Patch | None:
        raise error

    monkeypatch.setattr(surroundings, "make", fails)
    (root / "train.py").write_text("x = 2\n")
    releases = Releases(Settings(), "p", root)
    releases.of("m", "1", 5)
    [release] = told(releases)
    assert extra(release)["patch_refused"] == str(error)


def test_it_can_be_switched_off(root: Path) -> None:
    (root / "train.py").write_text("x = 2\n")
    releases = Releases(Settings(patch=False), "p", root)
    releases.of("m", "1", 5)
    [release] = told(releases)
    assert extra(release)["patch_refused"] == "MODELKEEP_PATCH is 0"
    assert "patch" not in extra(release)
    assert read({"MODELKEEP_PATCH": "0"}).patch is False
    assert read({"MODELKEEP_PATCH": ""}).patch is True


def test_a_patch_that_is_too_large_is_refused_with_its_figures(root: Path) -> None:
    with (root / "data.bin").open("wb") as file:
        file.truncate(10**9)
    releases = Releases(Settings(), "p", root)
    releases.of("m", "1", 5)
    [release] = told(releases)
    assert "1000000000 bytes" in str(extra(release)["patch_refused"])


def test_without_git_code_has_a_name_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text("x = 1\n")
    releases = Releases(Settings(), "p", tmp_path)
    releases.of("m", "1", 5)
    [release] = told(releases)
    assert release.code == ""
    assert extra(release) == {"content": patches.content(tmp_path)}


def test_without_git_the_variables_of_a_build_name_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "serve.py").write_text("x = 1\n")
    monkeypatch.setenv("CI_COMMIT_SHA", "c" * 40)
    monkeypatch.setenv("CI_PROJECT_URL", "https://gitlab.example.org/g/s/m")
    releases = Releases(Settings(), "p", tmp_path)
    releases.of("m", "1", 5)
    [release] = told(releases)
    assert release.code == "c" * 40
    assert extra(release)["remote"] == "https://gitlab.example.org/g/s/m"
    assert "content" not in extra(release)


def test_roles_make_releases_of_their_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    releases = Releases(Settings(role="canary"), "p", tmp_path)
    plain = Releases(Settings(), "p", tmp_path).of("m", "1", 5)
    try:
        first = releases.of("m", "1", 5)
        role("shadow", model="m", version="2")
        second = releases.of("m", "2", 5)
        role("live", model="m")
        third = releases.of("m", "1", 5)
        assert third == plain  # live changes no id
        role("nonsense")  # type: ignore[arg-type]
        assert releases.of("other", "1", 5) not in {first, second, third}
        said = {release.id: extra(release).get("role", "live") for release in told(releases)}
        assert list(said.values()) == ["canary", "shadow", "live", "canary"]
        assert said[second] == "shadow"
    finally:
        roles.forget()
    assert "'nonsense' is no role" in capfd.readouterr().err
    assert read({"MODELKEEP_ROLE": " Shadow "}).role == "shadow"
    assert read({"MODELKEEP_ROLE": "boss"}).role == "live"


def test_programs_that_others_installed_are_not_the_code_that_runs() -> None:
    assert _is_installed(Path(sys.executable).resolve().parent)
    assert _is_installed(Path(sys.prefix).resolve() / "bin")
    assert _is_installed(Path(pytest.__file__).parent)
    assert _is_installed(Path(subprocess.__file__).resolve().parent)
    assert not _is_installed(Path("/usr/src/app"))
    assert not _is_installed(Path("/srv/bin"))
