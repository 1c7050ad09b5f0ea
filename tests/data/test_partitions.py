"""Partitions: which folder a file belongs to, and what changed in each."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from modelkeep.data.datasets.partitions import Change, PartitionChange, partition_of, summarise

folders = st.sampled_from(["", "dt=2026-01-01/", "dt=2026-01-02/region=eu/", "raw/dt=3/", "plain/", "=x/", "a=/"])
paths = st.builds(lambda folder, name: f"{folder}{name}.parquet", folders, st.integers(0, 9))
kinds: st.SearchStrategy[Change] = st.sampled_from(["added", "deleted", "modified"])


def test_one_new_day_is_one_added_partition() -> None:
    found = summarise(
        [("dt=2026-01-03/part-0.parquet", "added"), ("dt=2026-01-03/part-1.parquet", "added")],
        unchanged=["dt=2026-01-01/part-0.parquet", "dt=2026-01-02/part-0.parquet"],
    )
    assert found == (PartitionChange("dt=2026-01-03", "added", added=2),)
    assert found[0].json()["state"] == "added"
    assert found[0].values == {"dt": "2026-01-03"}


def test_states() -> None:
    found = summarise(
        [
            ("dt=1/a", "deleted"),
            ("dt=2/a", "deleted"),
            ("dt=2/b", "added"),
            ("dt=3/a", "deleted"),
            ("dt=4/a", "modified"),
        ],
        unchanged=["dt=3/b"],
    )
    assert [(one.partition, one.state) for one in found] == [
        ("dt=1", "deleted"),
        ("dt=2", "modified"),
        ("dt=3", "modified"),
        ("dt=4", "modified"),
    ]


def test_files_outside_partitions_are_left_out() -> None:
    assert summarise([("a.csv", "added"), ("x/y.csv", "deleted"), ("k=v.csv", "added")]) == ()
    assert partition_of("a=1/b/c=2/d/e.csv") == "a=1/b/c=2"
    assert partition_of("=1/e.csv") == ""
    assert partition_of("a=/e.csv") == "a="


@given(st.dictionaries(paths, kinds, max_size=30), st.lists(paths, max_size=10))
def test_every_change_in_a_partition_counts_once(changes: dict[str, Change], unchanged: list[str]) -> None:
    found = summarise(changes.items(), unchanged=[path for path in unchanged if path not in changes])
    counts = Counter((partition_of(path), change) for path, change in changes.items() if partition_of(path))
    assert sum(one.added + one.deleted + one.modified for one in found) == counts.total()
    for one in found:
        for change in ("added", "deleted", "modified"):
            assert getattr(one, change) == counts[one.partition, change]
    assert [one.partition for one in found] == sorted({partition for partition, _ in counts})
