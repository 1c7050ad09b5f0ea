"""What the demo's numbers say: the table by month, the alerts, and what to conclude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from modelkeep.cli.client import Client
from modelkeep.cli.demo.model import NAME
from modelkeep.cli.output import cell, rows_of, table
from modelkeep.core.shapes import Json

TIMEZONE: Final = "America/New_York"
DAMAGE: Final = 0.05
"""Predicted and actual rates that are closer than this are called calibrated."""


@dataclass(frozen=True, slots=True)
class Month:
    """One month as the server knows it; rates and coverage are shares, `drifted` names features."""

    name: str
    flights: int
    labels: int
    coverage: float
    auc: float | None
    log_loss: float | None
    predicted: float | None
    actual: float | None
    drifted: tuple[str, ...]

    @property
    def gap(self) -> float:
        """How far the predicted rate is above the actual one."""
        return (self.predicted or 0.0) - (self.actual or 0.0)


def months(client: Client) -> list[Month]:
    """Asks the server for every month of the demo's model."""
    by_month: dict[str, int | float | str | None] = {"by": "month", "timezone": TIMEZONE}
    drifted: dict[str, list[str]] = {}
    for row in rows_of(client.get("/api/v1/drift", model=NAME, **by_month), "rows"):
        feature = str(row["feature"])
        if row.get("drifted") and not feature.startswith("@"):  # @score is what the model gave
            drifted.setdefault(_month(row), []).append(feature)
    return [
        Month(
            name=_month(row),
            flights=_integer(row.get("predictions")),
            labels=_integer(row.get("labels")),
            coverage=_number(row.get("coverage")) or 0.0,
            auc=_metric(row, "auc"),
            log_loss=_metric(row, "log_loss"),
            predicted=_metric(row, "predicted_rate"),
            actual=_metric(row, "actual_rate"),
            drifted=tuple(drifted.get(_month(row), ())),
        )
        for row in rows_of(client.get("/api/v1/quality", model=NAME, **by_month), "rows")
    ]


def month_table(found: list[Month]) -> str:
    """Gives the months as a table."""
    head = ["month", "flights", "labelled", "AUC", "log loss", "predicted late", "actually late", "drifted features"]
    rows: list[list[Json]] = [
        [
            month.name,
            month.flights,
            f"{month.coverage:.1%}",
            None if month.auc is None else f"{month.auc:.3f}",
            None if month.log_loss is None else f"{month.log_loss:.3f}",
            _share(month.predicted),
            _share(month.actual),
            _named(month.drifted),
        ]
        for month in found
    ]
    return table(head, rows)


def alert_table(changes: list[dict[str, Json]]) -> str:
    """Gives the alerts that fired, with event time and value."""
    rows: list[list[Json]] = []
    for change in changes:
        if change.get("to") == "firing":
            labels = change.get("labels")
            shown = {
                name: value
                for name, value in (labels.items() if isinstance(labels, dict) else ())
                if name not in {"alertname", "model", "version", "severity"}
            }
            rest = " ".join(f"{name}={cell(value)}" for name, value in shown.items())
            rows.append([change.get("at"), change.get("rule"), change.get("value"), rest])
    return table(["event time", "alert", "value", ""], rows, empty="No alert fired.")


def conclusion(found: list[Month]) -> str:
    """Gives two sentences that the figures bear out."""
    judged = [month for month in found if month.auc is not None and month.predicted is not None]
    if not judged:
        return "No month has enough labels yet to judge the model."
    worst = max(judged, key=lambda month: abs(month.gap))
    low, high = min(month.auc or 0 for month in judged), max(month.auc or 0 for month in judged)
    if abs(worst.gap) < DAMAGE:
        return (
            f"So far the model holds: in {worst.name}, at worst, {_share(worst.predicted)} late were predicted and"
            f" {_share(worst.actual)} were (AUC {low:.2f} at least). Go on to April to see calibration break."
        )
    first = (
        f"Drift is not damage, and AUC alone hides damage: the ranking only wavered (AUC {low:.2f} to {high:.2f}) while"
        f" calibration moved by up to {abs(worst.gap) * 100:.0f} points; in {worst.name} {_share(worst.predicted)} late"
        f" were predicted and {_share(worst.actual)} were."
    )
    most = max(judged, key=lambda month: len(month.drifted))
    if not most.drifted:
        return first + " No feature drifted in these months."
    return (
        f"{first}\nMost features drifted in {most.name} ({_named(most.drifted)}), where AUC was {most.auc:.2f}:"
        " watch calibration against the truth, and read drift as a reason to look, not as a verdict."
    )


def _named(features: tuple[str, ...]) -> str:
    if not features:
        return "none"
    shown = ", ".join(features[:4])
    return f"{len(features)}: {shown}" + (" …" if len(features) > 4 else "")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _month(row: dict[str, Json]) -> str:
    """Gives `2013-04` for a row that begins at midnight of 1 April, local time: some hours later in UTC."""
    return str(row.get("from"))[:7]


def _metric(row: dict[str, Json], name: str) -> float | None:
    metrics = row.get("metrics")
    found = metrics.get(name) if isinstance(metrics, dict) else None
    return _number(found.get("value")) if isinstance(found, dict) else None


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _integer(value: Json) -> int:
    return int(value) if isinstance(value, int | float) else 0
