"""The model view of modelkeep's page, written with NiceGUI the way its documentation shows; `bench/page.py` runs it.

    python bench/page_nicegui.py PORT

The same tiles, charts (as many lines and points), alerts and log lines; every second each chart gets a point, each
tile a figure, the log a line.
"""

from __future__ import annotations

import random
import sys
import time

from nicegui import ui

POINTS, STEP_S, LINES = 180, 5, 200
CHARTS = {
    "Predictions": 2,
    "Latency": 3,
    "Errors": 2,
    "Quality": 1,
    "Drifting features": 1,
    "Live share": 2,
    "CPU": 1,
    "Memory": 1,
}
TILES = ("Predictions", "Errors", "Latency p95", "AUC", "Drifting features", "Version")


class Told:
    """What happened, the same for all who look; a point of time and a log line each second."""

    def __init__(self) -> None:
        chance = random.Random(7)
        now = time.time() // STEP_S * STEP_S
        self.chance = chance
        self.rows = {
            title: [
                [[(now - (POINTS - at) * STEP_S) * 1000, chance.random()] for at in range(POINTS)] for _ in range(rows)
            ]
            for title, rows in CHARTS.items()
        }
        self.lines = [f"INFO request served #{number}" for number in range(LINES)]

    def go_on(self) -> None:
        for rows in self.rows.values():
            for row in rows:
                row.append([time.time() * 1000, self.chance.random()])
                del row[0]
        self.lines.append(f"INFO request served #{len(self.lines)}")


told = Told()


@ui.page("/")
def model() -> None:
    with ui.row():
        figures = []
        for tile in TILES:
            with ui.card():
                ui.label(tile)
                figures.append(ui.label("–"))
    charts = []
    with ui.grid(columns=2).classes("w-full"):
        for title, rows in told.rows.items():
            with ui.card().classes("w-full"):
                ui.label(title)
                series = [
                    {"type": "line", "name": f"{title} {at}", "data": list(row), "showSymbol": False}
                    for at, row in enumerate(rows)
                ]
                options = {
                    "xAxis": {"type": "time"},
                    "yAxis": {"type": "value"},
                    "legend": {},
                    "series": series,
                    "animation": False,
                }
                charts.append((rows, ui.echart(options)))
    with ui.card():
        for alert in ("churn answers slowly: 27 ms on average", "3 features of churn drift"):
            ui.label(alert)
    log = ui.log(max_lines=LINES)
    for line in told.lines[-LINES:]:
        log.push(line)
    place = len(told.lines)

    def update() -> None:
        nonlocal place
        for rows, chart in charts:
            for at, row in enumerate(rows):
                chart.options["series"][at]["data"] = list(row)
            chart.update()
        for figure in figures:
            figure.set_text(f"{told.chance.random():.3f}")
        for line in told.lines[place:]:
            log.push(line)
        place = len(told.lines)

    ui.timer(1.0, update)


from nicegui import app  # noqa: E402

app.timer(1.0, told.go_on)
ui.run(host="127.0.0.1", port=int(sys.argv[1]), reload=False, show=False, title="model")
