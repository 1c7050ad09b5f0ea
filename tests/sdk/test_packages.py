"""Envelopes as bytes: parting loses nothing, repeats nothing, keeps the order."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.encoding import Envelope, Events, Facts, Logs, Predictions, Reference, Release, Samples, decode
from modelkeep.sdk.envelopes import rows
from modelkeep.sdk.packages import Package, halves, pack, thinner


@st.composite
def envelopes(draw) -> Envelope:
    made = Envelope(token="t", process="p", sent_at=5, releases=[Release("r", 1, "m", "v")], dropped={"refused": 2})
    for number in range(draw(st.integers(0, 2))):
        size = draw(st.integers(1, 9))
        ids = [f"p{number}.{row}" for row in range(size)]
        made.predictions.append(
            Predictions("m", "v", "r", ids, list(range(size)), {"a": list(range(size))}, list(range(size)))
        )
        if draw(st.booleans()):
            made.predictions[-1].score = [0.5] * size
            made.predictions[-1].scores = {"x": [0.5] * size}
    for _ in range(draw(st.integers(0, 1))):
        size = draw(st.integers(1, 9))
        text = [str(row) for row in range(size)]
        made.facts.append(Facts(text, [None] * size, text, list(range(size)), text, list(range(size))))
        made.logs.append(
            Logs("s", "h", list(range(size)), [9] * size, text, text, text, [None] * size, [None] * size, text)
        )
        made.events.append(Events(list(range(size)), text, text, [None] * size, [None] * size, text))
        labels = [{"__name__": "a"}, {"__name__": "b"}]
        made.samples.append(Samples(labels, [row % 2 for row in range(size)], list(range(size)), [0.5] * size))
    return made


def flat(envelope: Envelope) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for part in envelope.predictions:
        score = part.score or [None] * len(part.ids)
        scores = part.scores.get("x") or [None] * len(part.ids)
        found += zip(
            ["prediction"] * len(part.ids),
            part.ids,
            part.at,
            part.features["a"],
            part.prediction,
            score,
            scores,
            strict=True,
        )
    for part in (*envelope.facts, *envelope.events, *envelope.logs):
        names = [name for name in part.__struct_fields__ if name not in {"service", "host"}]
        found += zip([type(part).__name__] * len(part.at), *(getattr(part, name) for name in names), strict=True)
    for part in envelope.samples:
        found += [
            ("sample", part.labels[series]["__name__"], at, value)
            for series, at, value in zip(part.series, part.at, part.value, strict=True)
        ]
    return found


@given(envelope=envelopes(), largest=st.integers(1, 1500))
def test_parts_hold_the_same_rows_under_the_same_tokens_every_time(envelope: Envelope, largest: int) -> None:
    parts = [package.open() for package in pack(envelope, compress=True, largest_bytes=largest)]
    again = [package.open() for package in pack(envelope, compress=False, largest_bytes=largest)]
    assert [part.token for part in parts] == [part.token for part in again]
    assert len({part.token for part in parts}) == len(parts)
    assert sorted(map(str, (row for part in parts for row in flat(part)))) == sorted(map(str, flat(envelope)))
    assert [release for part in parts for release in part.releases] == envelope.releases
    assert parts[-1].dropped == envelope.dropped
    first = [one for part in parts for each in part.predictions for one in each.ids if one.startswith("p0")]
    assert first == sorted(first)
    for package in pack(envelope, compress=False, largest_bytes=largest):
        assert len(package.body) <= largest or package.rows <= 1 or halves(package.open()) is None


@given(envelope=envelopes())
def test_any_coding_opens_to_the_same(envelope: Envelope) -> None:
    [plain] = pack(envelope, compress=False)
    assert plain.rows == rows(envelope) == plain.smaller().rows
    assert plain.open() == plain.smaller().open() == envelope


def test_zstd_is_used_where_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    assert zstandard
    [package] = pack(Envelope("t"), compress=True)
    assert (package.coding, package.open()) == ("zstd", Envelope("t"))
    monkeypatch.delitem(sys.modules, "zstandard")
    [package] = pack(Envelope("t"), compress=True)
    assert (package.coding, package.open()) == ("deflate", Envelope("t"))


@given(data=st.binary(max_size=60), coding=st.sampled_from(["identity", "deflate"]))
def test_bytes_that_are_no_envelope_are_a_value_error(data: bytes, coding: str) -> None:
    try:
        Package(data, coding, 1).open()
    except ValueError:
        return


def test_a_reference_is_thinned_not_parted() -> None:
    envelope = Envelope("t", references=[Reference("m", "1", {"a": list(range(9))}, label=list(range(9)))])
    assert halves(envelope) is None
    thin = thinner(envelope)
    assert thin is not None
    assert thin.references[0].features["a"] == thin.references[0].label == [0, 2, 4, 6, 8]
    assert thin.token != envelope.token
    assert thinner(Envelope("t")) is None


def test_a_reference_beyond_one_request_is_thinned_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelkeep.sdk.packages.REFERENCE_BYTES", 1000)
    envelope = Envelope("t", references=[Reference("m", "1", {"a": [0.5] * 1000})])
    [package] = pack(envelope, compress=False)
    assert 30 <= package.rows <= 125
    assert len(package.body) <= 1000


def test_surrogates_are_escaped_and_the_rest_is_kept() -> None:
    events = Events([1], ["\ud800"], ["ann"], [None], [None], ["{}"])
    [package] = pack(Envelope("t", events=[events]), compress=False)
    assert decode(package.body).events[0].name == ["\\ud800"]
    assert decode(package.body).events[0].user == ["ann"]
