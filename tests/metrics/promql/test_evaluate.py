from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import pytest

from modelkeep.core.clock import DAY, HOUR, MINUTE, SECOND
from modelkeep.core.errors import BadInput
from modelkeep.core.series import AT_STEP, Block, Labels, Matcher, Want
from modelkeep.metrics.promql.evaluate import MAX_STEPS, PromQL, metric_names
from modelkeep.metrics.promql.result import STALE, is_stale


class Derived:
    """A source that computes: at time t it gives t in hours, plus a hundredth of what was known when, in hours."""

    def __init__(self) -> None:
        self.asked: list[Want] = []

    def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
        names = [matcher.value for matcher in matchers if matcher.name == "__name__"]
        if names != ["derived"]:
            return []
        self.asked.append(want)
        start = want.start_ns - want.range_ns if want.ranged else want.start_ns
        step = HOUR if want.ranged else want.step_ns
        times = np.arange((start // step + 1) * step if want.ranged else start, want.end_ns + 1, step)
        known = times + want.offset_ns if want.as_of_ns == AT_STEP else np.full(len(times), want.as_of_ns or 0)
        values = (times + known / 100) / HOUR
        values[(times // HOUR) % 10 == 9] = STALE
        return [Block([(("__name__", "derived"),)], times, values[None, :])]

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Sequence[Labels]:
        return []


def row(promql: PromQL, query: str, start: int, end: int, step: int, as_of_ns: int | None = None) -> list[float | None]:
    result = promql.range(query, start, end, step, as_of_ns=as_of_ns)
    assert len(result.labels) == 1
    away = is_stale(result.values[0])
    return [None if gone else round(value, 9) for value, gone in zip(result.values[0].tolist(), away, strict=True)]


def test_a_derived_source_answers_at_the_steps_themselves() -> None:
    source = Derived()
    promql = PromQL([source])
    assert row(promql, "derived", 7 * HOUR, 11 * HOUR, HOUR) == [7, 8, None, 10, 11]
    assert source.asked == [Want(7 * HOUR, 11 * HOUR, HOUR, 5 * MINUTE)]


def test_each_step_sees_what_was_known_then() -> None:
    promql = PromQL([Derived()])
    assert row(promql, "derived", 1 * HOUR, 3 * HOUR, HOUR, AT_STEP) == [1.01, 2.02, 3.03]
    assert row(promql, "derived", 1 * HOUR, 3 * HOUR, HOUR, 5 * HOUR) == [1.05, 2.05, 3.05]


def test_an_offset_looks_back_in_time_but_not_in_knowledge() -> None:
    source = Derived()
    promql = PromQL([source])
    assert row(promql, "derived offset 1h", 2 * HOUR, 3 * HOUR, HOUR, AT_STEP) == [1.02, 2.03]
    assert source.asked == [Want(HOUR, 2 * HOUR, HOUR, 5 * MINUTE, offset_ns=HOUR, as_of_ns=AT_STEP)]
    assert row(promql, "derived offset -1h", 2 * HOUR, 3 * HOUR, HOUR, AT_STEP) == [3.02, 4.03]


def test_a_pinned_moment_is_looked_at_with_each_steps_knowledge() -> None:
    promql = PromQL([Derived()])
    assert row(promql, "derived @ 3600", 2 * HOUR, 4 * HOUR, HOUR, AT_STEP) == [1.02, 1.03, 1.04]
    assert row(promql, "derived @ end()", 2 * HOUR, 4 * HOUR, HOUR, AT_STEP) == [4.02, 4.03, 4.04]


def test_ranges_and_subqueries_see_samples_as_if_they_had_been_recorded() -> None:
    promql = PromQL([Derived()])
    want = [(1 + 2 + 3) * 1.01, (2 + 3 + 4) * 1.01]
    assert row(promql, "sum_over_time(derived[3h])", 3 * HOUR, 4 * HOUR, HOUR, AT_STEP) == pytest.approx(want)
    assert row(promql, "sum_over_time(derived[3h:1h])", 3 * HOUR, 4 * HOUR, HOUR, AT_STEP) == pytest.approx(want)
    late = [(1 + 2 + 3) * 1.01 + 3 * 0.05]
    assert row(promql, "sum_over_time(derived[3h:1h] offset 5h)", 8 * HOUR, 8 * HOUR, 1, AT_STEP) == pytest.approx(late)
    assert row(promql, "sum_over_time(derived[3h] offset 5h)", 8 * HOUR, 8 * HOUR, 1, AT_STEP) == pytest.approx(late)


def test_many_steps_give_what_each_step_alone_gives() -> None:
    promql = PromQL([Derived()])
    for query in (
        "derived",
        "derived offset 2h",
        "max_over_time(derived[5h])",
        "derived - derived offset 1d",
        "-derived",
    ):
        together = row(promql, query, DAY, DAY + 20 * HOUR, 20 * MINUTE, AT_STEP)
        alone = []
        for step in range(DAY, DAY + 20 * HOUR + 1, 20 * MINUTE):
            result = promql.instant(query, step, as_of_ns=AT_STEP)
            alone.append(round(result.values.item(), 9) if result.labels else None)
        assert together == alone, query


def test_the_same_selector_is_asked_once() -> None:
    source = Derived()
    PromQL([source]).range("derived + derived - derived", 0, HOUR, MINUTE)
    assert len(source.asked) == 1


def test_several_sources_answer_together() -> None:
    class Other(Derived):
        def select(self, matchers: Sequence[Matcher], want: Want) -> Sequence[Block]:
            return [Block([(("__name__", "other"),)], np.array([HOUR]), np.array([[7.0]]))]

    result = PromQL([Derived(), Other()]).instant("derived or other", HOUR)
    assert [dict(one)["__name__"] for one in result.labels] == ["derived", "other"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sum(", "unclosed"),
        ("foo(x)", "foo"),
        ("limitk(1, x)", "limitk"),
        ("sort_by_label(x, 'a')", "sort_by_label"),
        ("info(x)", "info"),
        ("x + fill(0) y", "fill"),
        ('x{a="b" or c="d"}', "`or` between matchers"),
        ("x @ -5", "before 1970"),
        ("x @ 1e18", "out of bounds"),
        ("x offset 300y", "50 years"),
        ("max_over_time(x[300y])", "50 years"),
        ("(" * 300 + "1" + ")" * 300, "nested"),
        ("1 + " * 40_000 + "1", "characters"),
        ("1+" * 30_000 + "1", "operators"),
        ("-" * 30_000 + "derived", "operators"),
        ("derived or " * 9_000 + "derived", "operators"),
        ("x[5m]", "over a range"),
        ("'text'", "over a range"),
        ("max_over_time(x[30d:1ms])", "subquery"),
        ("label_replace(x, 'a', 'b', 'c', '(?P<n')", "regular expression"),
        ("histogram_fraction(0, 1, x)", "histogram_fraction"),
        ("double_exponential_smoothing(derived[5h], 2, 0.5)", "smoothing factor"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(query: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        PromQL([Derived()]).range(query, 10 * HOUR, 12 * HOUR, HOUR)


def test_long_chains_within_the_limits_are_answered() -> None:
    promql = PromQL([Derived()])
    assert promql.instant("1" + "+1" * 200, 0).values.item() == 201
    assert promql.instant("abs(" * 99 + "-derived" + ")" * 99, HOUR).values.item() == 1
    assert promql.instant("-" * 200 + "derived", HOUR).values.item() == 1
    assert promql.instant('derived{a=~"' + "x|" * 5_000 + '"}', HOUR).values.item() == 1
    with contextlib.suppress(BadInput):
        promql.instant("abs(1+-" * 66 + "derived" + ")" * 66, HOUR)


def test_steps_and_samples_are_limited() -> None:
    promql = PromQL([Derived()], max_points=1000)
    assert promql.range("1", 0, (MAX_STEPS - 1) * SECOND, SECOND).values.shape == (1, MAX_STEPS)
    with pytest.raises(BadInput, match="11000 steps"):
        promql.range("1", 0, MAX_STEPS * SECOND, SECOND)
    for start, end, step in ((0, 0, 0), (5, 4, 1), (0, 5, -1)):
        with pytest.raises(BadInput, match="step"):
            promql.range("1", start, end, step)
    with pytest.raises(BadInput, match="1000 samples"):
        promql.range("derived", 0, 2000 * HOUR, HOUR)
    with pytest.raises(BadInput, match="1000 samples"):
        promql.range("max_over_time(derived[2000h])", 0, HOUR, HOUR)


def test_kinds_of_instant_answers() -> None:
    promql = PromQL([Derived()])
    assert promql.instant("1", 5).kind == "scalar"
    assert promql.instant("'a'", 5).text == "a"
    assert promql.instant("derived", HOUR).kind == "vector"
    ranged = promql.instant("derived[3h]", 4 * HOUR)
    assert ranged.kind == "matrix"
    assert [block.times.tolist() for block in ranged.blocks] == [[2 * HOUR, 3 * HOUR, 4 * HOUR]]
    assert promql.instant("nothing[3h]", 4 * HOUR).blocks == []
    assert promql.range("1", 0, 1, 1).kind == "matrix"


def test_holt_smoothing() -> None:
    promql = PromQL([Derived()])
    found = promql.instant("double_exponential_smoothing(derived[5h], 0.5, 0.5)", 5 * HOUR, as_of_ns=0)
    assert found.values.item() == pytest.approx(5)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("1", set()),
        ("a", {"a"}),
        ("rate(a[5m]) / on(x) group_left b offset 5m", {"a", "b"}),
        ('sum by(x)({__name__="c"}) > bool 5', {"c"}),
        ('{__name__=~"c|d"}', {""}),
        ('{job="x"}', {""}),
        ("max_over_time(sum(a)[5m:1m] @ end()) + absent(b)", {"a", "b"}),
        ("topk(scalar(k), v)", {"k", "v"}),
        ("quantile_over_time(scalar(q), (-v)[5m:])", {"q", "v"}),
        ("histogram_quantile(0.9, sum by(le)(rate(h_bucket{a=~`\\d+`}[5m]))) # c", {"h_bucket"}),
    ],
)
def test_metric_names(query: str, names: set[str]) -> None:
    assert metric_names(query) == names


def test_metric_names_of_no_query() -> None:
    with pytest.raises(BadInput):
        metric_names("a +")
