"""Deploys: kept once, in the order in which they were received."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from modelkeep.store.deploys import Deploy, Deploys, identity
from modelkeep.store.entries import Entries


@pytest.fixture
def deploys(tmp_path: Path) -> Iterator[Deploys]:
    with closing(Entries(tmp_path / "entries.db")) as entries:
        yield Deploys(entries)


def deploy(number: int, **given: object) -> Deploy:
    made = Deploy(f"id{number}", number, "hub", "github", f"d{number}", "push", "team/model", code=f"{number:040x}")
    return replace(made, **given)  # type: ignore[arg-type]


def test_a_deploy_comes_back_as_it_was(deploys: Deploys) -> None:
    given = deploy(
        1,
        coauthors=("Zoë <z@x>", 'B "q"'),
        title="ünï",
        authored_ns=-5,
        environment="prod",
        state="success",
        url="https://x",
    )
    assert deploys.add(given)
    assert deploys.list() == [given]


def test_one_message_is_kept_once(deploys: Deploys) -> None:
    assert deploys.add(deploy(1))
    assert not deploys.add(deploy(1, at_ns=9))
    assert not deploys.add(deploy(2, delivery="d1"))
    assert deploys.add(deploy(2, delivery="d1", name="other"))
    assert [one.at_ns for one in deploys.list()] == [2, 1]
    assert identity("a", "b") != identity("b", "a")


def test_nothing_but_the_time_of_receipt_orders_them(deploys: Deploys) -> None:
    for number, authored in ((1, 9_000), (2, 10), (3, 5_000)):
        deploys.add(deploy(number, authored_ns=authored))
    assert [one.at_ns for one in deploys.list()] == [3, 2, 1]


def test_they_are_found_by_time_repository_commit_and_kind(deploys: Deploys) -> None:
    for number in range(1, 6):
        deploys.add(deploy(number, kind="tag" if number % 2 else "push", repository="a/b" if number > 3 else "c/d"))
    assert [one.at_ns for one in deploys.list(start_ns=2, end_ns=4)] == [3, 2]
    assert [one.at_ns for one in deploys.list(repository="a/b")] == [5, 4]
    assert [one.at_ns for one in deploys.list(kind="push")] == [4, 2]
    assert [one.at_ns for one in deploys.list(code=f"{3:040x}")] == [3]
    assert [one.at_ns for one in deploys.list(code="0" * 39)] == [5, 4, 3, 2, 1]
    assert deploys.list(code="%") == []
    assert [one.at_ns for one in deploys.list(limit=2)] == [5, 4]


def test_the_oldest_are_forgotten_beyond_a_number(deploys: Deploys) -> None:
    for number in range(1_005):
        deploys.add(deploy(number))
    assert deploys.expire(most=5) == 0  # so few more are not worth the work
    deploys.add(deploy(2_000))
    assert deploys.expire(most=5) == 1_001
    assert [one.at_ns for one in deploys.list()] == [2_000, 1_004, 1_003, 1_002, 1_001]
