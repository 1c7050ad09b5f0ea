"""SQL by strangers: what is answered, and that nothing else can be reached."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelkeep.core.clock import DAY, HOUR, Fixed
from modelkeep.core.errors import BadInput, Denied, Error
from modelkeep.core.shapes import Entry, Json, Part
from modelkeep.store.engines.rows import VIEWS, Rows
from modelkeep.store.rows.sql import Sandbox, answered, checked, quoted

START = 15_800 * DAY  # 2013-04-05


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    """Ten predictions an hour apart, half of them sealed, and labels for some."""
    rows = Rows(tmp_path_factory.mktemp("rows"), clock=Fixed(START))
    for seq, first in enumerate((0, 5), 1):
        n = range(first, first + 5)
        batch = pa.record_batch(
            {
                "id": [str(i) for i in n],
                "at": pa.array([START + i * HOUR for i in n], pa.int64()),
                "score": [i / 10 for i in n],
                "prediction": [i >= 5 for i in n],
                "features.air time": [float(i) for i in n],
                "features.carrier": [f"C{i % 2}" for i in n],
            }
        )
        part = Part("prediction", batch.replace_schema_metadata({"model": "late", "version": str(seq), "release": "r"}))
        labels = pa.record_batch(
            {
                "id": ["1", "1", "2", "3"],
                "model": ["late"] * 4,
                "kind": ["label", "label", "label", "feedback"],
                "value": [0.0, float(seq), None, 1.0],
                "text": [None, None, "cancelled", None],
                "at": pa.array([START + 1, START + 2, START, START], pa.int64()),
            }
        )
        rows.apply([Entry(seq, "", 0, (part, Part("fact", labels)))])
        if seq == 1:
            rows.seal()
    yield rows
    rows.close()


def one(rows: Rows, query: str, *parameters: str | float) -> Json:
    (found,) = rows.sql(query, parameters).to_pylist()
    return next(iter(found.values()))  # type: ignore[no-any-return]


# what is answered


def test_the_views_and_their_columns(rows: Rows) -> None:
    found = {view: rows.sql(f"SELECT * FROM {view} LIMIT 0").column_names for view in VIEWS}
    assert found["prediction"] == [
        *("id", "at", "score", "latency_ns", "error", "model", "version", "release", "prediction"),
        *("features.air time", "features.carrier", "misfits", "at_ns", "seq"),
    ]
    assert found["fact"] == ["id", "at", "model", "kind", "value", "text", "source", "at_ns", "seq"]
    assert found["label"] == ["id", "at", "model", "value", "text", "source", "at_ns", "seq"]
    assert found["event"][:3] == ["at", "name", "user"]
    assert found["log"][:3] == ["at", "severity", "level"]
    assert found["reference"][:4] == ["at", "label", "label_text", "score"]


def test_times_are_timestamps_in_utc(rows: Rows) -> None:
    assert one(rows, "SELECT min(at) FROM prediction") == datetime(2013, 4, 5, tzinfo=UTC)
    assert one(rows, "SELECT count(*) FROM prediction WHERE at >= '2013-04-05 05:00'") == 5
    assert one(rows, "SELECT count(*) FROM prediction WHERE at < now() - INTERVAL 1 DAY") == 10
    assert one(rows, "SELECT hour(min(at) AT TIME ZONE 'America/New_York') FROM prediction") == 20
    assert one(rows, "SELECT max(at_ns) FROM prediction") == START + 9 * HOUR


def test_features_are_named_with_a_dot(rows: Rows) -> None:
    grouped = "SELECT p.features.carrier AS carrier, count(*) AS n FROM prediction p GROUP BY 1 ORDER BY 1"
    assert rows.sql(grouped).to_pylist() == [{"carrier": "C0", "n": 5}, {"carrier": "C1", "n": 5}]
    assert one(rows, 'SELECT max(features."air time") FROM prediction') == 9.0
    assert one(rows, 'SELECT max("features.air time") FROM prediction') == 9.0
    assert rows.sql("SELECT features.* FROM prediction").column_names == ["features.air time", "features.carrier"]


def test_label_is_the_latest_per_id(rows: Rows) -> None:
    found = rows.sql("SELECT id, value, text FROM label ORDER BY id").to_pylist()
    assert found == [{"id": "1", "value": 2.0, "text": None}, {"id": "2", "value": None, "text": "cancelled"}]
    assert one(rows, "SELECT count(*) FROM prediction p JOIN label l USING (model, id)") == 2


def test_parameters_are_bound(rows: Rows) -> None:
    assert one(rows, "SELECT count(*) FROM prediction WHERE id = ? OR score > $2", "0", 0.75) == 3
    assert one(rows, "SELECT count(*) FROM prediction WHERE id = ?", "' OR 1=1 --") == 0


def test_with_windows_and_describe(rows: Rows) -> None:
    found = rows.sql(
        "WITH hourly AS (SELECT time_bucket(INTERVAL 2 HOUR, at) AS t, avg(score) AS s FROM prediction GROUP BY 1)"
        " SELECT t, s - lag(s) OVER (ORDER BY t) AS change FROM hourly ORDER BY t"
    )
    assert found.num_rows == 5
    assert (
        one(rows, "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT max(i) FROM n")
        == 5
    )
    assert "features.carrier" in rows.sql("DESCRIBE prediction")["column_name"].to_pylist()
    assert rows.sql("SUMMARIZE fact").num_rows == 9
    assert one(rows, "SELECT sum(i) FROM range(4) r(i)") == 6
    assert one(rows, "FROM prediction SELECT count(*)") == 10


def test_limit_cuts_the_answer(rows: Rows) -> None:
    assert rows.sql("SELECT * FROM prediction", limit=3).num_rows == 3
    assert rows.sql("SELECT * FROM range(1000000)", limit=20_000).num_rows == 20_000
    assert rows.sql("SELECT * FROM prediction", limit=0).num_rows == 0


# what is refused

CLOSED = [
    "COPY prediction TO '{outside}/x.csv'",
    "COPY (SELECT 1) TO '{inside}/x.parquet'",
    "ATTACH '{outside}/x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA version",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "SET threads = 1",
    "RESET memory_limit",
    "CREATE TABLE x (a INT)",
    "CREATE VIEW prediction AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "INSERT INTO fact VALUES (1)",
    "DELETE FROM fact",
    "DROP VIEW fact",
    "EXPORT DATABASE '{outside}/x'",
    "IMPORT DATABASE '{outside}/x'",
    "EXPLAIN SELECT 1",
    "PREPARE p AS SELECT 1",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "USE memory",
    "SELECT 1; DROP TABLE x",
    "SELECT 1; SELECT 2",
    "",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('{inside}/*/*/*/*.parquet')",
    "SELECT * FROM parquet_metadata('{inside}/x.parquet')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '/etc/passwd.csv'",
    'SELECT * FROM "{inside}/manifest.json"',
    "SELECT * FROM 'https://example.org/x.parquet'",
    "SELECT * FROM read_csv('https://example.org/x.csv')",
    'WITH "/etc/passwd" AS (SELECT 1) SELECT * FROM "/etc/passwd"',
    "WITH x AS (SELECT * FROM read_csv('/etc/passwd')) SELECT * FROM x",
    "SELECT (SELECT count(*) FROM read_csv('/etc/passwd'))",
    "SELECT * FROM prediction WHERE id IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM prediction ORDER BY (SELECT content FROM read_text('/etc/passwd'))",
    "DESCRIBE SELECT * FROM read_csv('/etc/passwd')",
    "SUMMARIZE SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM (VALUES (1)) v, LATERAL (SELECT * FROM read_csv('/etc/passwd')) r",
    "SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('fact')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_settings",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_views",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM system.main.fact",
    "SELECT * FROM temp.fact_rows",
    "SELECT * FROM fact_rows",
    "SELECT * FROM recent_prediction_0",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "SELECT current_setting('temp_directory')",
    "SELECT getenv('HOME')",
    "SELECT system.main.current_setting('temp_directory')",
    "SELECT sleep_ms(1)",
    "SELECT write_log('x')",
    "SELECT repeat('x', 1000000000)",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM rows",
    "SELECT * FROM prediction AT (VERSION => 1)",
]


@pytest.mark.parametrize("query", CLOSED)
def test_everything_else_is_refused(rows: Rows, tmp_path: Path, query: str) -> None:
    before = sorted(rows._folder.rglob("*"))
    with pytest.raises((BadInput, Denied)) as refused:
        rows.sql(query.format(outside=tmp_path, inside=rows._folder))
    assert "root:" not in str(refused.value)
    assert not list(tmp_path.iterdir())
    assert sorted(rows._folder.rglob("*")) == before
    assert one(rows, "SELECT count(*) FROM prediction") == 10


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd.csv'",
        "COPY (SELECT 1) TO '/tmp/modelkeep-test.csv'",
        "ATTACH '/tmp/modelkeep-test.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SELECT * FROM secret_table",
    ],
)
def test_the_database_itself_refuses_without_the_check(tmp_path: Path, query: str) -> None:
    secret_table = pa.table({"secret": [1]})
    sandbox = Sandbox(tmp_path, tmp_path / "spill")
    with sandbox.cursor() as cursor, pytest.raises(duckdb.Error):
        cursor.execute(query).fetchall()
    sandbox.close()
    assert secret_table.num_rows == 1


def test_a_query_of_one_does_not_show_in_the_next(rows: Rows) -> None:
    rows.sql("SELECT count(*) FROM event")
    with rows._sandbox.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchall() == [(0,)]


# limits


def test_a_long_query_is_ended(rows: Rows) -> None:
    began = time.monotonic()
    with pytest.raises(BadInput, match=r"longer than 0\.3 s"):
        rows.sql("SELECT count(*) FROM range(10000000) a(i), range(100000) b(j) WHERE i % 7 = j % 11", timeout_s=0.3)
    assert time.monotonic() - began < 5
    assert one(rows, "SELECT count(*) FROM prediction") == 10


def test_a_long_answer_is_ended(rows: Rows) -> None:
    with pytest.raises(BadInput, match=r"longer than|larger than"):
        rows.sql("SELECT i + j FROM range(10000000) a(i), range(100000) b(j)", timeout_s=0.5)


def test_too_much_memory_is_refused(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, tmp_path / "spill", memory_limit_bytes=32 << 20)
    with sandbox.cursor() as cursor, pytest.raises(BadInput, match="memory"):
        answered(cursor, "SELECT list(i) FROM range(50000000) r(i)", (), timeout_s=20)
    sandbox.close()


def test_a_large_answer_and_a_long_statement_are_refused(rows: Rows) -> None:
    with rows._sandbox.cursor() as cursor, pytest.raises(BadInput, match="larger than 1 MiB"):
        answered(cursor, "SELECT * FROM range(1000000)", (), timeout_s=20, most_bytes=1 << 20)
    with pytest.raises(BadInput, match="characters"):
        rows.sql("SELECT " + " " * 200_000 + "1")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "does not parse"),
        ("SELECT nothing FROM fact", "nothing"),
        ("SELECT no_such_function(1)", "no_such_function"),
        ("SELECT id + 1 FROM fact WHERE id = 'x' + 1", "cannot be answered"),
        ("SELECT CAST('x.parquet' AS INT)", "cannot be answered"),
        ("SELECT ?", "cannot be answered"),
        ("SELECT * FROM facts", "no table 'facts'"),
        ("SELECT 1 \x00", "NUL"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(rows: Rows, query: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        rows.sql(query)


def test_many_threads_ask_while_rows_arrive(tmp_path: Path) -> None:
    rows = Rows(tmp_path, clock=Fixed(DAY))
    counts: list[list[int]] = [[] for _ in range(3)]
    done = threading.Event()

    def ask(found: list[int]) -> None:
        while not done.is_set():
            found.append(int(str(one(rows, "SELECT count(*) FROM fact"))))

    threads = [threading.Thread(target=ask, args=(found,)) for found in counts]
    for thread in threads:
        thread.start()
    for seq in range(1, 31):
        batch = pa.record_batch({"id": ["a"] * 10, "at": pa.array([seq] * 10, pa.int64())})
        rows.apply([Entry(seq, "", 0, (Part("fact", batch),))])
        if seq % 2:
            rows.seal()
        if seq % 10 == 0:
            rows.compact()
    done.set()
    for thread in threads:
        thread.join()
    for found in counts:
        assert found == sorted(found)
        assert all(count % 10 == 0 for count in found)
    assert one(rows, "SELECT count(*) FROM fact") == 300
    rows.close()


# the reader of statements


@given(st.text(max_size=60))
@example("'")
@example("$$at$$ at")
@example("/* at */ -- at")
def test_any_text_is_answered_or_refused_clearly(text: str) -> None:
    with duckdb.connect() as cursor:
        try:
            found = checked(cursor, text, VIEWS)
        except (BadInput, Denied):
            return
    assert found.tables <= set(VIEWS)


TEXT = """
SELECT * FROM prediction fact , ( ) read_text '/etc/passwd' "at" at WITH x AS UNION ALL JOIN ON true WHERE 1 = ;
LATERAL VALUES DESCRIBE TABLE duckdb_settings() query('SELECT 1') features.a . COLUMNS
"""
WORDS = st.sampled_from(TEXT.split())


@settings(max_examples=60)
@given(st.lists(WORDS, max_size=14))
def test_no_mix_of_words_reaches_beyond_the_views(words: list[str]) -> None:
    query = " ".join(words)
    with duckdb.connect() as cursor:
        try:
            checked(cursor, query, VIEWS)
        except Error:
            return
    bare = re.sub(r"'[^']*'", "", query)
    assert "read_text (" not in bare
    assert "query(" not in bare


@given(st.text(alphabet="at'\"$-/* \nfeatures.x", max_size=30))
def test_quoting_changes_nothing_inside_quotes(text: str) -> None:
    kept = re.sub(r"[\"']", "", text)
    assert quoted(f"'{kept}'") == f"'{kept}'"
    assert quoted(f'"{kept}"') == f'"{kept}"'
    assert quoted(quoted(text)) == quoted(text)
