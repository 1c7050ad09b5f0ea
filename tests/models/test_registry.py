"""What tags add up to: versions, stages, and what contradicts itself; nothing is lost to a moved or deleted tag."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.models.events import read
from modelkeep.models.names import precedence
from modelkeep.models.registry import Registry
from modelkeep.models.state import assembled
from tests.code.repositories import git, repository
from tests.models.registries import commits, make, registry, tag


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    """Three versions registered by somebody else, v1.10.0 before v1.9.1; one in production, one before it."""
    found = registry(tmp_path / "r")
    a, b, c, _ = commits(found)
    make(found, "churn@v1.9.0", a, "Registering artifact churn version v1.9.0", at_s=0)
    make(found, "churn@v1.10.0", b, "Registering artifact churn version v1.10.0", at_s=10)
    make(found, "churn@v1.9.1", c, "Registering artifact churn version v1.9.1", at_s=20)
    make(found, "churn#production#1", a, "Assigning stage production to artifact churn version v1.9.0", at_s=30)
    make(found, "churn#production#2", b, "Assigning stage production to artifact churn version v1.10.0", at_s=40)
    make(found, "sub=other@v2.0.0-rc.1", c, "Registering artifact sub:other version v2.0.0-rc.1", at_s=50)
    return found


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("churn@v1.9.0", "v1.9.0"), ("churn@1.9.1", "v1.9.1"), ("churn@1", "v1.9.0"), ("churn@3", "v1.9.1"),
        ("churn@latest", "v1.10.0"), ("churn@v1", "v1.10.0"), ("churn@v1.9", "v1.9.1"), ("churn@production", "v1.10.0"),
        ("churn#production", "v1.10.0"), ("sub:other@latest", "v2.0.0-rc.1"), ("sub/dvc.yaml:other@1", "v2.0.0-rc.1"),
    ],
)  # fmt: skip
def test_every_way_to_ask(models: Registry, text: str, version: str) -> None:
    assert models.resolve(text).version == version


def test_a_commit_may_be_asked_for(models: Registry) -> None:
    one = models.resolve("churn@2")
    short = one.commit[: next(n for n in range(7, 40) if any(char.isdigit() for char in one.commit[:n]))]
    assert models.resolve(f"churn@{short}") == one


def test_models_and_their_versions(models: Registry) -> None:
    assert [(one.name, one.latest.version) for one in models.artifacts() if one.latest] == [
        ("churn", "v1.10.0"), ("sub:other", "v2.0.0-rc.1"),
    ]  # fmt: skip
    assert [(one.number, one.version, one.stages) for one in models.versions("churn")] == [
        (1, "v1.9.0", ()), (2, "v1.10.0", ("production",)), (3, "v1.9.1", ()),
    ]  # fmt: skip
    assert models.stages("churn")["production"].by == "Ann <ann@example.org>"
    assert [held.version.version for held in models.held("churn", "production") if held.version] == [
        "v1.9.0",
        "v1.10.0",
    ]
    assert models.problems() == []


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("churm@v1.9.0", Missing, "churn"),
        ("nothing-like-it@5", Missing, "modelkeep model list"),
        ("churn@v1.9.9", Missing, "v1.9.0"),
        ("churn@7", Missing, "modelkeep model list churn"),
        ("churn@staging", Missing, "production"),
        ("churn", BadInput, "churn@production"),
        ("chürn@1", BadInput, "Use a-z"),
    ],
)
def test_what_is_not_there_says_what_is(models: Registry, text: str, error: type, hint: str) -> None:
    with pytest.raises(error) as told:
        models.resolve(text)
    assert hint in told.value.hint


def test_stages_fall_back_as_with_gto(models: Registry) -> None:
    _, b, _, _ = commits(models)
    make(
        models,
        "churn#production!#3",
        b,
        "Unassigning stage 'production' to artifact 'churn' version 'v1.10.0'",
        at_s=60,
    )
    assert models.stages("churn")["production"].version == "v1.9.0"
    make(models, "churn@v1.9.0!", commits(models)[0], "Deregistering artifact churn version v1.9.0", at_s=70)
    assert models.stages("churn") == {}
    assert [one.version for one in models.versions("churn")] == ["v1.10.0", "v1.9.1"]
    assert [one.number for one in models.versions("churn", hidden=True)] == [1, 2, 3]
    with pytest.raises(Missing, match=r"v1.9.0 was deregistered by Ann .* on 2023-11-14"):
        models.resolve("churn@1")
    assert models.resolve("churn@1", hidden=True).gone is not None


def test_a_deprecated_model_is_hidden_until_the_next_event(models: Registry) -> None:
    make(models, "churn@deprecated", commits(models)[0], "Deprecating artifact 'churn'", at_s=60)
    assert [one.name for one in models.artifacts()] == ["sub:other"]
    assert [one.name for one in models.artifacts(hidden=True)] == ["churn", "sub:other"]
    assert models.resolve("churn@latest").version == "v1.10.0"
    make(models, "churn#dev#3", commits(models)[2], "Assigning stage dev to artifact churn version v1.9.1", at_s=70)
    assert [one.name for one in models.artifacts()] == ["churn", "sub:other"]


def test_a_stage_without_a_version_of_its_own(models: Registry) -> None:
    bare = commits(models)[3]
    make(models, "churn#dev#3", bare, f"Assigning stage dev to artifact churn version {bare}", at_s=60)
    one = models.resolve("churn@dev")
    assert (one.version, one.number, one.registered, one.name) == (bare, 0, False, f"churn@{bare[:12]}")
    assert bare not in [one.version for one in models.versions("churn")]
    assert models.problems() == []


def test_a_moved_tag_is_told_and_the_stage_stays_with_its_commit(models: Registry) -> None:
    _, b, _, d = commits(models)
    git(models.git.root, "tag", "-f", "-a", "churn@v1.10.0", d, "-m", "Registering artifact churn version v1.10.0")
    models.refresh()
    assert models.resolve("churn@production").commit == b
    (problem,) = models.problems("churn")
    assert problem.tag == "churn#production#2"
    assert "v1.10.0" in problem.what
    assert "moved" in problem.what


def test_a_deleted_tag_is_told(models: Registry) -> None:
    git(models.git.root, "tag", "-d", "churn@v1.10.0")
    models.refresh()
    assert models.resolve("churn@production").registered is False
    assert [one.number for one in models.versions("churn")] == [1, 2]
    assert "is gone" in models.problems("churn")[0].what


def test_a_lightweight_tag_is_told(models: Registry) -> None:
    git(models.git.root, "tag", "light@v1.0.0")
    models.refresh()
    with pytest.raises(Missing, match="no such model") as told:
        models.resolve("light@v1.0.0")
    assert "lightweight" in told.value.hint
    assert [one.tag for one in models.problems()] == ["light@v1.0.0"]


def test_the_same_version_twice_and_a_stray_deregistration(models: Registry) -> None:
    a, _, _, d = commits(models)
    make(models, "churn@v1.9.0#3", d, "Registering artifact churn version v1.9.0", at_s=60)
    make(models, "churn@v1.10.0!", d, "Deregistering artifact churn version v1.10.0", at_s=70)
    assert models.resolve("churn@v1.9.0").commit == a
    assert models.resolve("churn@v1.10.0").active
    assert sorted(one.tag for one in models.problems()) == ["churn@v1.10.0!", "churn@v1.9.0#3"]


def test_numbers_that_ours_carry_survive_the_loss_of_a_tag(tmp_path: Path) -> None:
    from modelkeep.models.register import register

    found = registry(tmp_path / "r")
    for at, one in enumerate(commits(found)):
        register(found, "m", f"v1.{at}.0", rev=one)
    git(found.git.root, "tag", "-d", "m@v1.1.0")
    found.refresh()
    assert [(one.number, one.version) for one in found.versions("m")] == [(1, "v1.0.0"), (3, "v1.2.0"), (4, "v1.3.0")]
    assert ["number 2 is not here" in one.what for one in found.problems()] == [True]


def test_a_shallow_clone_without_tags(models: Registry, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", "--no-tags", f"file://{models.git.root}", "shallow")
    with Git(tmp_path / "shallow") as shallow:
        with pytest.raises(Missing) as told:
            Registry(shallow).resolve("churn@production")
        assert "git fetch --tags" in told.value.hint
        git(tmp_path / "shallow", "fetch", "-q", "--tags")
        assert Registry(shallow).resolve("churn@production").version == "v1.10.0"


def test_a_repository_without_commits_and_none(tmp_path: Path) -> None:
    repository(tmp_path / "empty")
    with Git(tmp_path / "empty") as empty:
        assert Registry(empty).artifacts() == []
        with pytest.raises(Missing, match="no such model"):
            Registry(empty).resolve("m@1")
    with pytest.raises(Missing):
        Git(tmp_path / "nothing")


def test_a_commit_with_two_beginnings_alike(models: Registry) -> None:
    ones = [one for one in models.versions("churn") if one.number]
    assert len({one.commit for one in ones}) == 3
    with pytest.raises(Missing):
        models.resolve("churn@0000000")
    assert Conflict.exit_code == 4


@given(st.permutations(range(12)), st.integers(1, 12))
def test_ten_versions_in_any_order_of_reading(order: list[int], upto: int) -> None:
    tags = [tag(f"m@v1.{minor}.0", f"{minor:040x}", at_s=minor) for minor in order[:upto]]
    model = assembled("m", read(tags).events("m"))
    assert [one.number for one in model.versions] == list(range(1, upto + 1))
    assert model.latest is not None
    assert model.latest.version == max((f"v1.{minor}.0" for minor in order[:upto]), key=precedence)


def test_ten_thousand_versions(tmp_path: Path) -> None:
    tags = [tag(f"m@v{n // 1000}.{n // 10 % 100}.{n % 10}", f"{n:040x}", at_s=n) for n in range(10_000)]
    tags += [tag(f"m#prod#{n}", f"{n * 3:040x}", at_s=20_000 + n) for n in range(1, 3001)]
    model = assembled("m", read(tags).events("m"))
    assert len(model.versions) == 10_000
    assert model.stages["prod"].version == "v9.0.0"
    assert model.latest is not None
    assert model.latest.version == "v9.99.9"
