"""Own figures: every one explained, exposed as Prometheus reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelkeep.server import own
from modelkeep.server.own import Own
from tests.server.conftest import Running, running

SOURCES = sorted(Path(own.__file__).parent.glob("*.py"))


def test_every_figure_has_a_kind_and_a_text_and_is_used() -> None:
    assert set(own.KINDS) == set(own.HELP)
    code = "".join(path.read_text() for path in SOURCES if path.name != "own.py").replace(
        'f"modelkeep_outbox_{state}"', '"modelkeep_outbox_waiting" "modelkeep_outbox_dead"'
    )
    for name, kind in own.KINDS.items():
        assert f'"{name}"' in code, name
        assert name.endswith("_total") == (kind == "counter")


def test_the_text_is_what_prometheus_reads() -> None:
    figures = Own()
    figures.add("modelkeep_ingest_refused_total", reason='a"b\\c\nd')
    figures.time("modelkeep_query_seconds", 0.3, room="rows")
    figures.time("modelkeep_query_seconds", 99.0, room="rows")
    families = {family.name: family for family in text_string_to_metric_families(figures.text())}
    (refused,) = families["modelkeep_ingest_refused"].samples
    assert refused.labels == {"reason": 'a"b\\c\nd'}
    found = {
        (sample.name, sample.labels.get("le")): sample.value for sample in families["modelkeep_query_seconds"].samples
    }
    assert found["modelkeep_query_seconds_bucket", "0.5"] == 1
    assert found["modelkeep_query_seconds_bucket", "+Inf"] == 2
    assert found["modelkeep_query_seconds_count", None] == 2
    assert found["modelkeep_query_seconds_sum", None] == pytest.approx(99.3)


def test_a_server_tells_its_figures(server: Running) -> None:
    server.post("/api/v1/facts", {"id": "a", "value": 1})
    text = server.client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {sample.labels["kind"] for sample in families["modelkeep_ingest_rows"].samples} == {"fact"}
    assert {sample.labels["reader"] for sample in families["modelkeep_reader_lag_entries"].samples} == {
        "rows", "series", "text", "quality", "releases", "configurations", "trainings", "serving",
    }  # fmt: skip
    assert families["modelkeep_ingest_open"].samples[0].value == 1


def test_a_server_samples_itself_into_its_own_series(tmp_path: Path) -> None:
    with running(tmp_path / "data", self_sampling=True) as server:
        server.house.sampling.keep()
        answer = server.client.get("/api/v1/query", params={"query": "modelkeep_disk_free_bytes"}).json()
        assert float(answer["data"]["result"][0]["value"][1]) > 0
        names = server.get("/api/v1/label/__name__/values")["data"]
        assert isinstance(names, list)
        assert any(str(name).startswith("host_") for name in names)
        assert any(str(name).startswith("process_") for name in names)
