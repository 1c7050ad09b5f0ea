"""What each release served: sums over memory and what is stored are those of the predictions themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.clock import HOUR
from modelkeep.core.shapes import Entry, Part
from modelkeep.store.entries import Entries
from modelkeep.store.served import Served, Serving


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


def entry(seq: int, release: str, model: str, version: str, at: list[int]) -> Entry:
    meta = {"model": model, "version": version, "release": release}
    batch = pa.record_batch({"at": pa.array(at, pa.int64())}).replace_schema_metadata(meta)
    return Entry(seq, "", 0, (Part("prediction", batch),))


PARTS = st.lists(
    st.tuples(
        st.sampled_from(["", "r1", "r2"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["1", "2"]),
        st.lists(st.integers(0, 5 * HOUR), min_size=1, max_size=5),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@given(parts=PARTS)
def test_sums_are_those_of_the_predictions_over_seals_and_crashes(place: Path, parts: list[tuple]) -> None:  # type: ignore[type-arg]
    path = place / "entries.db"
    path.unlink(missing_ok=True)
    entries = Entries(path)
    store, all_entries = Serving(entries), []
    times: dict[tuple[str, str, str], list[int]] = {}
    for seq, (release, model, version, at, seal, crash) in enumerate(parts, 1):
        all_entries.append(entry(seq, release, model, version, at))
        store.apply(all_entries[-1:])
        times.setdefault((release, model, version), []).extend(at)
        if seal:
            assert store.seal() == seq
        if crash:
            store = Serving(entries)
            store.apply(all_entries)
    expected = {Served(*key, len(at), min(at), max(at)) for key, at in times.items()}
    assert set(store.spans()) == expected
    assert set(store.spans("a")) == {one for one in expected if one.model == "a"}
    hours: Counter[tuple[str, str, int]] = Counter()
    for one in store.hours("b", HOUR, 3 * HOUR + 1):
        hours[one.release, one.version, one.hour] += one.predictions
    wanted = Counter(
        (release, version, at // HOUR)
        for (release, model, version), found in times.items()
        for at in found
        if model == "b" and 1 <= at // HOUR < 4
    )
    assert hours == wanted
    entries.close()


def test_old_hours_go_and_the_whole_stays(tmp_path: Path) -> None:
    entries = Entries(tmp_path / "entries.db")
    store = Serving(entries)
    store.apply([entry(1, "r", "m", "1", [1, 5 * HOUR])])
    store.seal()
    store.expire(2 * HOUR)
    assert [one.hour for one in store.hours("m")] == [5]
    assert store.spans() == [Served("r", "m", "1", 2, 1, 5 * HOUR)]
    entries.close()
