"""What changed before a moment: ranked by what it touched and how near it was, said so that people understand it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR, MINUTE
from modelkeep.models.changes import Known, ago, annotation, changes, place
from modelkeep.models.timeline import stretches
from modelkeep.store.configurations import Change as Configured
from modelkeep.store.trainings import Training
from tests.models.test_timeline import START, release

A, B, C = "a" * 40, "b" * 40, "c" * 40
GITHUB = {"remote": "git@github.com:team/churn.git"}


@dataclass(frozen=True)
class Deploy:
    id: str
    at_ns: int
    kind: str = "push"
    repository: str = "team/churn"
    ref: str = "refs/heads/main"
    code: str = ""
    author: str = "ann"
    pusher: str = ""
    environment: str = ""
    url: str = ""
    title: str = ""


def configured(id_: str, hours: float, process: str = "pa", **more: str) -> Configured:
    differences = json.dumps([{"key": "threshold", "before": 0.5, "after": 0.4, "mark": "set"}])
    row = {"state": "applied", "hash": "2" * 64, "previous": "1" * 64, "name": "app", "source": "", "author": "bob"}
    row |= {
        "reason": "",
        "error": "",
        "differences": differences,
        "service": "",
        "host": "",
        "deployer": "",
        "marks": "",
    }
    return Configured(id=id_, at=START + int(hours * HOUR), process=process, **{**row, **more})


def known(**more: object) -> Known:
    releases = [
        release("r1", 0, "1", code=A, author="ann", extra=GITHUB, data_version="md5: " + "d" * 32),
        release("r2", 10, "2", code=B, author="cy", extra=GITHUB, data_version="md5: " + "d" * 32),
        release("other", 11, "1", "n", code=C),
    ]
    return Known(stretches=stretches(releases, []), **more)  # type: ignore[arg-type]


def ids(found: Known, hours: float = 12, model: str = "m") -> list[tuple[str, str]]:
    return [(one.id, one.near) for one in changes(found, START + int(hours * HOUR), model=model)]


def test_the_commit_of_a_deploy_comes_first() -> None:
    pushed = Deploy("push", START + int(9.5 * HOUR), code=B, title="faster", pusher="cy", url="https://x/compare")
    elsewhere = Deploy("else", START + int(11.9 * HOUR), repository="team/fraud", code="f" * 40)
    found = known(deploys=[pushed, elsewhere])
    first, *rest = changes(found, START + 12 * HOUR, model="m")
    assert first.title == "m 2 took over from 1: code aaaaaaaa → bbbbbbbb"
    assert (first.code, first.who) == (B, "cy")
    assert first.link == f"https://github.com/team/churn/compare/{A}...{B}"
    assert first.command == "modelkeep code diff r1 r2"
    assert [(one.id, one.near) for one in rest] == [
        ("r1", "own"), ("push", "maybe"), ("else", "other"), ("other", "other"),
    ]  # fmt: skip
    assert rest[1].title == "main bbbbbbbb pushed to team/churn: faster"


def test_a_deployment_of_the_served_repository_counts_as_a_change_of_what_served() -> None:
    one = Deploy(
        "d", START + 11 * HOUR, "deployment", "https://github.com/team/churn", code=B, environment="production"
    )
    found = changes(known(deploys=[one]), START + 12 * HOUR, model="m")
    assert (found[0].id, found[0].near) == ("d", "own")
    assert found[0].title == "main bbbbbbbb deployed from https://github.com/team/churn to production"


def test_the_same_change_of_configuration_in_many_processes_is_one() -> None:
    rows = [configured(str(n), 11 + n / 100, f"p{n}") for n in range(5)]
    late = configured("late", 11.8, "p9", state="rolled back", author="", deployer="ci")
    begun = configured("begun", 11.9, previous="")
    found = known(configurations=[*rows, late, begun], processes={"p3": "m"})
    first = changes(found, START + 12 * HOUR, model="m")[0]
    assert first.title == "configuration app changed in 6 processes: threshold 0.5 → 0.4"
    assert (first.who, first.near) == ("bob", "own")
    assert first.command == "modelkeep config diff 111111111111 222222222222"
    assert "begun" not in {one for one, _ in ids(found)}, "what a process begins with is in its release"
    apart = known(configurations=[rows[0], replace(late, at=START + 20 * HOUR)], processes={"p0": "m", "p9": "n"})
    assert [one for one in ids(apart, 30) if one[0] in {"0", "late"}] == [("0", "own"), ("late", "other")]


def test_trainings_may_have_led_to_it() -> None:
    good = Training(id="t", model="m", version="2", at_ns=START, end_ns=START + 9 * HOUR, metrics='{"auc": 0.9123456}')
    bad = Training(id="f", model="m", at_ns=START + 11 * HOUR, end_ns=START + 11 * HOUR, status="failed", error="E")
    runs = Training(id="x", model="n", at_ns=START + 11 * HOUR, status="running", by="bob")
    found = changes(known(trainings=[good, bad, runs]), START + 12 * HOUR, model="m")
    by_id = {one.id: one for one in found}
    assert by_id["t"].title == "m 2 was trained: auc 0.9123"
    assert by_id["f"].title == "m could not be trained (E)"
    assert by_id["x"].title == "n is being trained"
    assert [by_id[name].near for name in "tfx"] == ["maybe", "maybe", "other"]


def test_without_a_model_everything_that_served_is_alike() -> None:
    assert ids(known(), model="") == [("other", "own"), ("r2", "own"), ("r1", "own")]


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({"version": "2", "code": A, "data_version": "e" * 32}, "m 2 took over from 1: data dddddddd → eeeeeeee"),
        ({"version": "1", "code": A, "dirty": True}, "m 1: with uncommitted changes, data dddddddd → unknown"),
        ({"version": "1", "code": "", "extra": {"content": "5" * 64}},
         "m 1: code aaaaaaaa → unknown, files 55555555, data dddddddd → unknown"),
        ({"version": "2", "code": A, "data_version": "d" * 32, "role": "canary"}, "m 2 began as canary beside 1"),
        ({"version": "1", "code": A, "data_version": "d" * 32, "config_version": "1" * 64 + "+" + "2" * 64},
         "m 1: configuration 11111111+22222222"),
    ],
)  # fmt: skip
def test_what_is_new_is_said(more: dict[str, object], title: str) -> None:
    releases = [release("r1", 0, "1", code=A, data_version="d" * 32), release("r2", 10, **more)]  # type: ignore[arg-type]
    assert changes(Known(stretches(releases, [])), START + 11 * HOUR)[0].title == title


def test_the_annotation_is_one_sentence_about_the_newest_own_change() -> None:
    found = changes(known(), START + int(10.5 * HOUR), model="m")
    assert annotation(found, START + int(10.5 * HOUR)) == (
        "30 min before: m 2 took over from 1: code aaaaaaaa → bbbbbbbb by cy"
        f" (https://github.com/team/churn/compare/{A}...{B})"
    )
    assert annotation(changes(known(), START + 12 * HOUR, model="unknown"), START) == ""


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["m", "n"]), st.sampled_from("123")), max_size=20),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_nothing_after_the_moment_and_the_nearest_of_each_kind_first(
    rows: list[tuple[int, str, str]], moment: int, since: int
) -> None:
    releases = [release(str(n), at, version, model) for n, (at, model, version) in enumerate(rows)]
    found = changes(Known(stretches(releases, [])), START + moment * HOUR, model="m", since_ns=START + since * HOUR)
    assert all(START + since * HOUR <= one.at_ns <= START + moment * HOUR for one in found)
    order = [({"own": 0, "maybe": 1, "other": 2}[one.near], -one.at_ns) for one in found]
    assert order == sorted(order)
    assert all((one.model == "m") is (one.near == "own") for one in found)


def test_places_of_one_repository_are_the_same() -> None:
    forms = (
        "https://oauth2:glpat@gitlab.example.org/a/b/c.git", "git@gitlab.example.org:a/b/c.git",
        "ssh://git@gitlab.example.org/a/b/c", "https://gitlab.example.org/A/b/c/",
    )  # fmt: skip
    assert {place(one) for one in forms} == {"gitlab.example.org/a/b/c"}


def test_ages_are_told_in_two_units() -> None:
    assert [ago(span) for span in (0, MINUTE, HOUR + MINUTE, DAY + MINUTE, 40 * DAY + HOUR, -5)] == [
        "0 s", "1 min", "1 h 1 min", "1 d", "40 d 1 h", "0 s",
    ]  # fmt: skip
