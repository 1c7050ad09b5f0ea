"""The route that counts log records over time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from modelkeep.server.logcounts import LogCountsTold
from tests.server.conftest import Running


def test_records_are_counted_where_they_are(server: Running) -> None:
    at = time.time() // 60 * 60 - 600
    rows = [(0, "INFO"), (1, "ERROR"), (61, "ERROR"), (62, "WARN"), (200, "DEBUG")]
    server.post(
        "/api/v1/logs", [{"message": f"counted {level}", "level": level, "at": at + shift} for shift, level in rows]
    )
    told: Any = server.get("/api/v1/logs/counts", q="counted", **{"from": at, "to": at + 240, "step": 60})
    LogCountsTold.model_validate(told, strict=True)
    assert told["bands"] == {
        "none": [0, 0, 0, 0],
        "debug": [0, 0, 0, 1],
        "info": [1, 0, 0, 0],
        "warn": [0, 1, 0, 0],
        "error": [1, 1, 0, 0],
    }
    assert (told["count"], told["step"]) == (5, 60.0)
    told = server.get("/api/v1/logs/counts", q="counted level:error", **{"from": at, "to": at + 240, "step": 60})
    assert told["count"] == 2


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"from": "now-1h"}, "step"),
        ({"step": 60}, "from"),
        ({"from": "now-30d", "step": 1}, "at most 5000"),
        ({"from": "now-1h", "step": 60, "q": "("}, "column 2"),
        ({"from": "now-1h", "step": 60, "form": "x"}, "form"),
    ],
)
def test_wrong_questions_say_what_is_wrong(server: Running, parameters: dict[str, object], text: str) -> None:
    answer = server.client.get("/api/v1/logs/counts", params=parameters)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]
