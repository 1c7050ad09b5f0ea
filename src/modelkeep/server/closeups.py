"""The routes of drift and quality from near: what stands behind the figures, for whoever looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from fastapi import Query
from fastapi.responses import Response
from pydantic import Field

from modelkeep.core.clock import HOUR
from modelkeep.core.errors import BadInput
from modelkeep.core.shapes import Json
from modelkeep.core.times import iso
from modelkeep.quality.closeup import WORST, Bin, Compared, Side, Traced
from modelkeep.quality.measure import applicable
from modelkeep.quality.pair import Floats
from modelkeep.quality.profile import DOWN, MISFIT, NAN, NULL, UP, VALUE
from modelkeep.quality.scorecard import Calibration, Confusion
from modelkeep.quality.windows import Windows
from modelkeep.server.values import Row
from modelkeep.server.words import Told, VerdictTold

if TYPE_CHECKING:
    from modelkeep.quality.catalogue import Version
    from modelkeep.server.api import Api
    from modelkeep.server.house import House
    from modelkeep.server.questions import Questions

Model = Annotated[str, Query(min_length=1, max_length=200)]
VersionName = Annotated[str, Query(alias="version", max_length=512)]
Short = Annotated[str | None, Query(max_length=512)]
From = Annotated[str | None, Query(alias="from", max_length=64, description="Earliest time.")]
To = Annotated[str | None, Query(max_length=64, description="Latest time, exclusive.")]
By = Annotated[Literal["hour", "day", "week", "month", "all"], Query()]
Zone = Annotated[str, Query(max_length=64, description="IANA name, such as Europe/Berlin.")]
Shares = list[float | None]
_DIGITS = 4
_MOST_WINDOWS = 800


class TracedTold(Told):
    """One feature over time."""

    feature: str
    numeric: bool | None
    rows: list[int]
    missing: Shares
    values: Shares
    ratios: Shares


class MapTold(Told):
    """One measure of all features over time."""

    model: str
    version: str
    measure: str
    starts: list[str]
    ends: list[str]
    features: list[TracedTold]


class BinTold(Told):
    """A range of numbers or a name, and the share of both sides in it."""

    from_: Annotated[float | None, Field(alias="from")]
    to: float | None
    name: str
    kind: Literal["range", "name", "other", "unseen"]
    reference: float | None
    current: float | None


class SideTold(Told):
    """How many rows one side has, and in which state."""

    rows: int
    values: int
    null: int
    nan: int
    infinite: int
    misfits: int
    mean: float | None


class ComparedTold(Told):
    """One feature beside its reference."""

    model: str
    version: str
    feature: str
    from_: Annotated[str | None, Field(alias="from")]
    to: str | None
    numeric: bool
    against: Literal["reference", "first week"]
    reference: SideTold
    current: SideTold
    bins: list[BinTold]
    unseen_ratio: float | None
    measures: dict[str, VerdictTold]


class CalibrationTold(Told):
    """Labelled predictions in one range of the score."""

    from_: Annotated[float, Field(alias="from")]
    to: float
    predictions: int
    labels: int
    predicted: float | None
    actual: float | None
    low: float | None
    high: float | None


class ConfusionTold(Told):
    """How often a class was taken for another, by actual, then predicted class."""

    names: list[str]
    counts: list[list[int]]


class DelayTold(Told):
    """How late the labels of one period came, in calendar days of UTC."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    labels: int
    median_days: float | None
    late_days: float | None


class OutcomeTold(Told):
    """What stands behind the figures of one version."""

    version: str
    task: str
    calibration: list[CalibrationTold]
    confusion: ConfusionTold | None
    delays: list[DelayTold]
    by_day: list[int]


class OutcomesTold(Told):
    """What stands behind the figures of a model."""

    model: str
    threshold: float
    versions: list[OutcomeTold]


def enter(api: Api, ask: Questions, house: House) -> None:
    """Enters all routes.

    Args:
        api: whose table they go into.
        ask: reads times.
        house: knows.
    """

    @api.enter("GET", "/api/v1/drift/map", "read", MapTold)
    async def drift_map(
        *,
        model: Model,
        version: VersionName,
        measure: Annotated[str, Query(max_length=100)] = WORST,
        start: From = None,
        to: To = None,
        by: By = "day",
        timezone: Zone = "UTC",
    ) -> Response:
        """One measure of all features of a version over time."""
        return await api.reply(
            "quality",
            lambda: _map(
                house,
                model,
                version,
                measure,
                start_ns=ask.at(start, "from"),
                end_ns=ask.at(to, "to"),
                by=by,
                timezone=timezone,
            ),
            "quality",
        )

    @api.enter("GET", "/api/v1/drift/feature", "read", ComparedTold)
    async def drift_feature(
        model: Model,
        version: VersionName,
        feature: Annotated[str, Query(max_length=2_000)],
        start: From = None,
        to: To = None,
    ) -> Response:
        """One feature of a version in a time beside its reference."""
        return await api.reply(
            "quality",
            lambda: _feature(house, model, version, feature, start_ns=ask.at(start, "from"), end_ns=ask.at(to, "to")),
            "quality",
        )

    @api.enter("GET", "/api/v1/quality/outcomes", "read", OutcomesTold)
    async def outcomes(
        *,
        model: Model,
        version: Short = None,
        start: From = None,
        to: To = None,
        by: By = "day",
        timezone: Zone = "UTC",
        threshold: Annotated[float, Query(ge=0, le=1)] = 0.5,
    ) -> Response:
        """Predicted against actual, who was taken for whom, and how late labels come."""
        return await api.reply(
            "quality",
            lambda: _outcomes(
                house,
                model,
                version or None,
                start_ns=ask.at(start, "from"),
                end_ns=ask.at(to, "to"),
                by=by,
                timezone=timezone,
                threshold=threshold,
            ),
            "quality",
        )


def _map(
    house: House,
    model: str,
    version: str,
    measure: str,
    *,
    start_ns: int | None,
    end_ns: int | None,
    by: str,
    timezone: str,
) -> Row:
    if measure != WORST:
        applicable(True, [measure])
    ((found, windows),) = house.quality.windows(
        model, version=version, start_ns=start_ns, end_ns=end_ns, by=by, timezone=timezone
    )
    if len(windows) > _MOST_WINDOWS:
        raise BadInput(
            f"by={by} makes {len(windows)} columns, more than {_MOST_WINDOWS}", hint="Ask for a shorter time or by day."
        )
    traced = house.quality.closeup.traced(found, windows, measure) if len(windows) else []
    return {
        "model": model,
        "version": version,
        "measure": measure,
        "starts": [iso(int(hour) * HOUR) for hour in windows.starts],
        "ends": [iso(int(hour) * HOUR) for hour in windows.ends],
        "features": [_traced(one) for one in traced],
    }


def _traced(one: Traced) -> Row:
    return {
        "feature": one.feature,
        "numeric": one.numeric,
        "rows": [int(count) for count in one.rows],
        "missing": _numbers(one.missing),
        "values": _numbers(one.values),
        "ratios": _numbers(one.ratios),
    }


def _feature(house: House, model: str, version: str, feature: str, *, start_ns: int | None, end_ns: int | None) -> Row:
    ((found, windows),) = house.quality.windows(
        model, version=version, start_ns=start_ns, end_ns=end_ns, feature=feature
    )
    if not len(windows):
        raise BadInput("from and to: there is no whole hour between them", hint="Ask for a longer time.")
    compared = house.quality.closeup.compared(found, feature, windows)
    return {
        "model": model,
        "version": version,
        "feature": feature,
        "from": iso(int(windows.starts[0]) * HOUR),
        "to": iso(int(windows.ends[0]) * HOUR),
        "numeric": compared.numeric,
        "against": compared.against,
        "reference": _side(compared.reference),
        "current": _side(compared.current),
        "bins": [_bin(one) for one in compared.bins],
        "unseen_ratio": _number(compared.unseen),
        "measures": _measures(compared),
    }


def _measures(compared: Compared) -> Row:
    found: Row = {}
    for name, one in (compared.drift.measures if compared.drift else {}).items():
        value, bound = float(one.value[0]), float(one.threshold[0])
        if np.isfinite(value):
            found[name] = {
                "value": value,
                "threshold": _number(bound),
                "p_value": _number(float(one.chance[0])),
                "drifted": value > bound,
            }
    return found


def _side(side: Side) -> Row:
    states = [int(count) for count in side.states]
    return {
        "rows": int(side.rows),
        "values": states[VALUE],
        "null": states[NULL],
        "nan": states[NAN],
        "infinite": states[UP] + states[DOWN],
        "misfits": states[MISFIT],
        "mean": _number(side.mean),
    }


def _bin(one: Bin) -> Row:
    return {
        "from": one.start,
        "to": one.end,
        "name": one.name,
        "kind": one.kind,
        "reference": _number(one.reference),
        "current": _number(one.current),
    }


def _outcomes(
    house: House,
    model: str,
    version: str | None,
    *,
    start_ns: int | None,
    end_ns: int | None,
    by: str,
    timezone: str,
    threshold: float,
) -> Row:
    whole = house.quality.windows(model, version=version, start_ns=start_ns, end_ns=end_ns)
    periods = house.quality.windows(model, version=version, start_ns=start_ns, end_ns=end_ns, by=by, timezone=timezone)
    told: list[Json] = []
    for (one, window), (_, windows) in zip(whole, periods, strict=True):
        if len(window) and len(windows):
            told.append(_outcome(house, one, window, windows, threshold))
    return {"model": model, "threshold": threshold, "versions": told}


def _outcome(house: House, version: Version, window: Windows, periods: Windows, threshold: float) -> Row:
    card = house.quality.scorecard
    delays = card.delays([version], periods)
    rows: list[Json] = [
        {
            "from": iso(int(periods.starts[at]) * HOUR),
            "to": iso(int(periods.ends[at]) * HOUR),
            "labels": int(delays.labels[at]),
            "median_days": _number(delays.median[at]),
            "late_days": _number(delays.late[at]),
        }
        for at in range(len(periods))
    ]
    calibration, confusion = card.calibration(version, window), card.confusion(version, window, threshold)
    return {
        "version": version.version,
        "task": version.task,
        "calibration": _calibration(calibration) if calibration is not None else [],
        "confusion": _confusion(confusion) if confusion is not None else None,
        "delays": rows,
        "by_day": [int(count) for count in delays.by_day],
    }


def _calibration(found: Calibration) -> list[Json]:
    return [
        {
            "from": round(float(start), 1),
            "to": round(float(start) + 1 / len(found.starts), 1),
            "predictions": round(float(found.predictions[at])),
            "labels": round(float(found.labels[at])),
            "predicted": _number(found.predicted[at]),
            "actual": _number(found.actual[at]),
            "low": _number(found.low[at]),
            "high": _number(found.high[at]),
        }
        for at, start in enumerate(found.starts)
    ]


def _confusion(found: Confusion) -> Row:
    return {"names": list(found.names), "counts": [[round(float(one)) for one in row] for row in found.counts]}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: Floats) -> list[Json]:
    """Short numbers, since there may be a hundred thousand of them."""
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]
