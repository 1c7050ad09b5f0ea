"""Search among predictions: every word of the language against the same choice in Python, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.server import closeups, findings
from modelkeep.server.findings import condition
from tests.server.conftest import Running

NOW = time.time()
MODEL = 'a/b "ق"'
ROWS: list[dict[str, Any]] = [
    {"model": MODEL, "version": "12"[row % 2], "id": f"p{row:03}", "prediction": row % 3 == 0,
     "features": {"x": row % 17, "plan": ["pro", "basic", 'odd "one" 100%'][row % 3], "of date": row / 7,
                  "gap": None if row % 5 else 1.0},
     "score": (row % 10) / 10, "at": NOW - 7200 - row, "latency_s": row / 1000}
    for row in range(200)
]  # fmt: skip
for row in ROWS[::20]:
    row |= {"error": "ValueError", "prediction": None, "score": None}


@pytest.fixture(scope="module", autouse=True)
def history(server: Running) -> None:
    server.post("/api/v1/predictions", ROWS)
    server.post("/api/v1/predictions", [{"model": "other", "id": "p001", "features": {"x": "text"}, "prediction": "z"}])
    reference = {"model": MODEL, "version": "1", "features": {"x": [row % 13 for row in range(200)]}}
    server.post("/api/v1/references", reference)
    labels = [
        {"id": f"p{row:03}", "value": row % 2 == 0, "model": MODEL, "at": NOW - 3600} for row in range(150) if row % 4
    ]
    server.post("/api/v1/facts", labels)


def number(row: dict[str, Any]) -> int:
    return int(row["id"][1:])


def labelled(row: dict[str, Any]) -> bool:
    return number(row) < 150 and number(row) % 4 != 0


QUERIES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "": lambda row: True,
    "p01": lambda row: "p01" in row["id"],
    "x:3": lambda row: row["features"]["x"] == 3,
    "features.x:3": lambda row: row["features"]["x"] == 3,
    "x>=10 x<12.5": lambda row: 10 <= row["features"]["x"] < 12.5,
    "x!=3": lambda row: row["features"]["x"] != 3,
    "plan:PRO": lambda row: row["features"]["plan"] == "pro",
    "plan:*o": lambda row: row["features"]["plan"] == "pro",
    'plan:"odd \\"one\\" 100%"': lambda row: "odd" in row["features"]["plan"],
    "-plan:pro": lambda row: row["features"]["plan"] != "pro",
    '"of date">20': lambda row: row["features"]["of date"] > 20,
    "gap:*": lambda row: row["features"]["gap"] is not None,
    "gap:null": lambda row: row["features"]["gap"] is None,
    "is:failed": lambda row: "error" in row,
    "error:valueerror": lambda row: "error" in row,
    "-is:failed": lambda row: "error" not in row,
    "prediction:true": lambda row: row["prediction"] is True,
    "score>0.75": lambda row: row["score"] is not None and row["score"] > 0.75,
    "latency>0.15": lambda row: row["latency_s"] > 0.15,
    "version:2": lambda row: row["version"] == "2",
    "is:labelled": labelled,
    "is:unlabelled": lambda row: not labelled(row),
    "label:true": lambda row: labelled(row) and number(row) % 2 == 0,
    "is:wrong": lambda row: labelled(row) and row["prediction"] not in (None, number(row) % 2 == 0),
    "-is:wrong p1": lambda row: "p1" in row["id"] and not QUERIES["is:wrong"](row),
}


@pytest.mark.parametrize("query", QUERIES)
def test_a_search_finds_what_python_finds(server: Running, query: str) -> None:
    told = server.get("/api/v1/predictions/search", model=MODEL, q=query, limit=1000)
    findings.FoundTold.model_validate(told, strict=True)
    wanted = [row["id"] for row in sorted(ROWS, key=lambda row: -row["at"]) if QUERIES[query](row)]
    found: Any = told["predictions"]
    assert wanted
    assert [row["id"] for row in found] == wanted
    assert (told["count"], told["next"]) == (len(wanted), None)
    assert all(row["model"] == MODEL for row in found)


def test_pages_follow_each_other_without_a_gap(server: Running) -> None:
    seen: list[str] = []
    cursor: Any = ""
    while cursor is not None:
        told: Any = server.get("/api/v1/predictions/search", model=MODEL, version="1", limit=7, before=cursor)
        seen += [row["id"] for row in told["predictions"]]
        cursor = told["next"]
    assert seen == [row["id"] for row in ROWS if row["version"] == "1"]


def test_time_and_version_narrow_it(server: Running) -> None:
    told: Any = server.get(
        "/api/v1/predictions/search", model=MODEL, **{"from": NOW - 7200 - 10.5, "to": NOW - 7200 - 4.5}
    )
    assert [row["id"] for row in told["predictions"]] == [f"p{row:03}" for row in range(5, 11)]
    assert server.get("/api/v1/predictions/search", model="nobody")["predictions"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("is:odd", "is:odd"),
        ("plam:pro", "Did you mean plan?"),
        ("x>many", "not a number"),
        ('x:"open', "cannot be read"),
        ("x:", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(server: Running, query: str, said: str) -> None:
    answer = server.client.get("/api/v1/predictions/search", params={"model": MODEL, "q": query})
    assert answer.status_code == 400
    assert said in answer.text
    assert server.client.get(
        "/api/v1/predictions/search", params={"model": MODEL, "before": "nonsense"}
    ).status_code == 400  # fmt: skip


@given(st.text(max_size=60))
def test_any_text_is_a_search_or_bad_input(text: str) -> None:
    try:
        found = condition(text, ["features.x"])
    except BadInput:
        return
    assert found.sql.count("?") == len(found.bound)


def test_values_cannot_become_sql(server: Running) -> None:
    for query in ('plan:"\' OR 1=1 --"', "'; drop", 'plan:"*"'):
        told: Any = server.client.get("/api/v1/predictions/search", params={"model": MODEL, "q": query})
        assert told.status_code == 200 or told.json()["error"]["name"] == "BadInput"
    assert server.get("/api/v1/predictions/search", model=MODEL, q='plan:"\' OR 1=1 --"')["count"] == 0


def test_drift_and_outcomes_have_the_written_shape(server: Running) -> None:
    asked = {"model": MODEL, "version": "1"}
    told: Any = server.get("/api/v1/drift/map", **asked, by="hour")
    closeups.MapTold.model_validate(told, strict=True)
    assert {one["feature"] for one in told["features"]} >= {"x", "plan", "@score"}
    assert all(len(one["values"]) == len(told["starts"]) for one in told["features"])
    told = server.get("/api/v1/drift/feature", **asked, feature="x")
    closeups.ComparedTold.model_validate(told, strict=True)
    assert (told["against"], told["current"]["rows"]) == ("reference", 100)
    told = server.get("/api/v1/quality/outcomes", model=MODEL, threshold=0.3)
    closeups.OutcomesTold.model_validate(told, strict=True)
    assert [one["version"] for one in told["versions"]] == ["1", "2"]


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("drift/map", {"version": "1", "measure": "nonsense"}, 404),
        ("drift/map", {"version": "9"}, 404),
        ("drift/map", {}, 400),
        ("drift/map", {"version": "1", "by": "hour", "from": "1970-01-01"}, 200),
        ("drift/feature", {"version": "1", "feature": "nothing"}, 404),
        ("drift/feature", {"version": "1", "feature": "x", "from": "now-3m", "to": "now-2m"}, 400),
        ("quality/outcomes", {"threshold": 2}, 400),
    ],
)
def test_what_is_not_there_is_refused(server: Running, path: str, asked: dict[str, Any], status: int) -> None:
    answer = server.client.get(f"/api/v1/{path}", params={"model": MODEL, **asked})
    assert answer.status_code == status, answer.text
