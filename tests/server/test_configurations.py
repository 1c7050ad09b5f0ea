"""Configurations told to a real server: what holds where, history, diff, blame, releases, and never a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel, SecretStr

import modelkeep as mk
from modelkeep.core import encoding
from modelkeep.core.clock import MINUTE
from modelkeep.core.encoding import Envelope
from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.core.layouts import CONFIGURATION
from modelkeep.core.shapes import Entry, Part
from modelkeep.sdk import client
from modelkeep.sdk.applied import applied
from modelkeep.server import configurations as words
from modelkeep.server.configurations import Presence, shown
from modelkeep.server.run import Serving, listen
from modelkeep.server.settings import Settings
from modelkeep.store.configurations import Configurations
from modelkeep.store.entries import Entries
from modelkeep.wire.native import parts
from tests.server.conftest import Running, running

CANARY = "canary-Zq7"
PATH = "/api/v1/configurations"


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    client.reset()
    applied.forget()
    yield
    client.reset()
    applied.forget()


@pytest.fixture
def told(server: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Running:
    """The server, which this process tells of its configurations."""
    monkeypatch.setenv("MODELKEEP_URL", server.serving.url)
    monkeypatch.setenv("MODELKEEP_SPOOL", str(tmp_path / "spool"))
    return server


class Db(BaseModel):
    pool: int = 3
    password: SecretStr = SecretStr("")
    opaque: SecretStr = SecretStr("")


class App(BaseModel):
    name: str = ""
    db: Db = Db()


def rows(server: Running, path: str, under: str, **parameters: object) -> list[dict[str, Any]]:
    found = server.get(f"{PATH}{path}", **parameters)[under]
    assert isinstance(found, list)
    return found


def mine() -> str:
    return client.here().process


def test_what_holds_is_told_with_the_place_of_every_key(told: Running, tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("name: churn\ndb:\n  pool: 5\n")
    cfg = mk.config(App, tmp_path / "app.yaml", {"db": {"password": CANARY}})
    assert mk.flush(20)
    answer = told.get(PATH, process=mine())
    words.ConfigurationsTold.model_validate(answer, strict=True)
    (row,) = answer["configurations"]  # type: ignore[misc]
    assert (row["name"], row["hash"], row["live"]) == ("App", cfg.hash, True)
    assert row["marks"]["db.pool"] == f"{tmp_path / 'app.yaml'}:3"
    assert row["tree"] == {"name": "churn", "db": {"pool": 5, "password": "***"}}
    brief = told.get(PATH, process=mine(), brief=True)["configurations"]
    assert (brief[0]["tree"], brief[0]["marks"]) == ({}, {})  # type: ignore[index]


def test_history_blame_and_diff(told: Running) -> None:
    cfg = mk.config({"db": {"pool": 5, "password": CANARY}, "x": 1}, name="history")
    first = cfg.hash
    cfg.set({"db.pool": 9}, author="ann", reason="more load")
    second = cfg.hash
    with pytest.raises(BadInput):
        cfg.set({"x": "${nowhere}"}, author="bob", reason="typing")
    cfg.set({"db.password": f"{CANARY}2"}, author="cy")
    cfg.rollback(second, author="ann", reason="wrong password")
    assert mk.flush(20)
    answer = told.get(f"{PATH}/history", name="history")
    words.ChangesTold.model_validate(answer, strict=True)
    changes: list[dict[str, Any]] = answer["changes"]  # type: ignore[assignment]
    assert [(one["state"], one["author"]) for one in changes[:4]] == [
        ("rolled back", "ann"), ("applied", "cy"), ("rejected", "bob"), ("applied", "ann"),
    ]  # fmt: skip
    assert changes[3]["differences"] == [{"key": "db.pool", "before": 5, "after": 9, "mark": "set by ann"}]
    assert "nowhere" in changes[2]["error"]
    by_key = rows(told, "/history", "changes", name="history", key="db.password")
    assert [one["author"] for one in by_key] == ["ann", "cy"]
    assert rows(told, "/history", "changes", name="history", key="db") == [one for one in changes if one["differences"]]
    assert rows(told, "/history", "changes", name="history", key="d") == []
    assert [one["state"] for one in rows(told, "/history", "changes", name="history", state="rejected")] == ["rejected"]
    blame = told.get(f"{PATH}/blame", key="db.pool", name="history")
    words.BlameTold.model_validate(blame, strict=True)
    assert [(one["value"], one["reason"]) for one in blame["blame"]] == [(9, "more load"), (5, "")]  # type: ignore[union-attr]
    secret = rows(told, "/blame", "blame", key="db.password", name="history")
    assert [(one["value"], one["author"]) for one in secret][:2] == [("***", "ann"), ("***", "cy")]
    diff = told.get(f"{PATH}/diff", **{"from": first[:10], "to": second})
    words.DiffTold.model_validate(diff, strict=True)
    assert diff["differences"] == [{"key": "db.pool", "before": 5, "after": 9, "mark": "set by ann"}]
    assert (diff["from"], diff["to"], diff["same"], diff["hidden"]) == (first, second, False, ["db.password"])
    version = told.get(f"{PATH}/versions/{second[:12]}")
    words.VersionOfConfigurationTold.model_validate(version, strict=True)
    assert (version["hash"], version["processes"]) == (second, [mine()])


def test_what_nobody_knows_is_said(server: Running) -> None:
    for path, status in {
        "/versions/abcdef123": 404,
        "/versions/xyz": 400,
        "/versions/ab": 400,
        "/diff?from=abcdef1&to=abcdef2": 404,
        "/blame?key=no.such.key": 404,
        "/history?state=fine": 400,
        "/history?proces=x": 400,
    }.items():
        answer = server.client.get(PATH + path)
        assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True), path


def test_predictions_carry_the_configuration_that_held_when_they_were_made(told: Running) -> None:
    cfg = mk.config({"threshold": 1}, name="serving")
    hashes = [cfg.hash]
    mk.log_prediction("configured", {"x": 0}, 0.0, id="p0")
    for number in range(1, 4):
        cfg.set({"threshold": number + 1})
        hashes.append(cfg.hash)
        mk.log_prediction("configured", {"x": number}, 0.0, id=f"p{number}")
    assert mk.flush(20)
    releases = {one["id"]: one for one in told.get("/api/v1/releases", model="configured")["releases"]}  # type: ignore[attr-defined]
    predictions = told.get("/api/v1/predictions", model="configured")["predictions"]
    held = {one["id"]: releases[one["release"]]["config_version"] for one in predictions}  # type: ignore[attr-defined]
    assert held == {f"p{number}": hash_ for number, hash_ in enumerate(hashes)}
    by_hash = {one["config_version"]: one["id"] for one in releases.values()}
    diff = told.get(f"{PATH}/diff", **{"from": by_hash[hashes[0]], "to": by_hash[hashes[3]]})
    assert [(one["before"], one["after"]) for one in diff["differences"]] == [(1, 4)]  # type: ignore[union-attr]


def test_two_configurations_of_one_process_are_both_in_its_releases(told: Running) -> None:
    one, two = mk.config({"a": 1}, name="one"), mk.config({"a": 2}, name="two")
    mk.log_prediction("both", {"x": 1}, 1.0)
    two.set({"a": 3})
    mk.log_prediction("both", {"x": 1}, 1.0)
    assert mk.flush(20)
    releases = told.get("/api/v1/releases", model="both")["releases"]
    versions = {release["config_version"]: release["id"] for release in releases}  # type: ignore[attr-defined]
    after = f"{one.hash}+{two.hash}"
    before = next(version for version in versions if version != after)
    diff = told.get(f"{PATH}/diff", **{"from": versions[before], "to": versions[after]})
    assert [(row["key"], row["before"], row["after"]) for row in diff["differences"]] == [("two.a", 2, 3)]  # type: ignore[union-attr]


def test_a_version_that_was_set_by_hand_stays(told: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_CONFIG_VERSION", "2026-03")
    mk.config({"a": 1})
    mk.log_prediction("byhand", {"x": 1}, 1.0)
    assert mk.flush(20)
    (release,) = told.get("/api/v1/releases", model="byhand")["releases"]  # type: ignore[misc]
    assert release["config_version"] == "2026-03"
    answer = told.client.get(f"{PATH}/diff", params={"from": release["id"], "to": release["id"]})
    assert answer.status_code == 404
    assert "2026-03" in answer.json()["error"]["message"]


def test_changes_while_the_server_is_away_arrive_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as place:
        port = int(place.getsockname()[1])
    monkeypatch.setenv("MODELKEEP_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MODELKEEP_SPOOL", str(tmp_path / "spool"))
    cfg = mk.config({"a": 1, "password": CANARY}, name="away")
    cfg.set({"a": 2})
    mk.log_prediction("m", {"x": 1}, 1.0)
    client.reset()
    kept = [file for file in (tmp_path / "spool").rglob("*") if file.is_file()]
    assert kept
    assert all(CANARY.encode() not in file.read_bytes() for file in kept)
    serving = Serving(Settings(data=str(tmp_path / "data"), port=port, self_sampling=False))
    serving.start()
    try:
        mk.log_prediction("m", {"x": 2}, 1.0)
        assert mk.flush(30)
        found = Running(serving)
        told = [one for one in rows(found, "/history", "changes", name="away") if one["state"] == "applied"]
        assert [one["hash"] for one in told if one["previous"]][-1] == cfg.hash
        found.client.close()
    finally:
        serving.stop()


def test_a_forked_process_tells_what_it_holds(told: Running) -> None:
    program = (
        "import os, modelkeep as mk\n"
        "cfg = mk.config({'a': 1}, name='forked')\n"
        "child = os.fork()\n"
        "mk.log_prediction('forked', {'x': 1}, 1.0)\n"
        "mk.flush(20)\n"
        "if child: os.waitpid(child, 0)\n"
        "if child: print(cfg.hash)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    held = rows(told, "", "configurations", name="forked")
    assert len({one["process"] for one in held}) == 2
    assert {one["hash"] for one in held} == {done.stdout.strip()}
    releases = told.get("/api/v1/releases", model="forked")["releases"]
    assert [one["config_version"] for one in releases] == [done.stdout.strip()] * 2  # type: ignore[union-attr]


def test_series_tell_how_often_and_when(told: Running) -> None:
    cfg = mk.config({"a": 1}, name="counted")
    cfg.set({"a": 2})
    with pytest.raises(BadInput):
        cfg.set({"a": "${nowhere}"})
    client.reset()  # the last samples are taken at the end
    at = time.time()
    for state, count in (("applied", "2"), ("rejected", "1")):
        query = f'config_changes_total{{name="counted",state="{state}"}}'
        (found,) = told.client.get("/api/v1/query", params={"query": query}).json()["data"]["result"]
        assert found["value"][1] == count
    query = 'config_applied_timestamp_seconds{name="counted"}'
    (found,) = told.client.get("/api/v1/query", params={"query": query}).json()["data"]["result"]
    assert abs(float(found["value"][1]) - at) < 60
    assert 'modelkeep_configuration_changes_total{state="rejected"}' in told.client.get("/metrics").text


def test_no_output_has_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (tmp_path / "app.yaml").write_text(
        f"name: pg://ann:{CANARY}@h/d\ndb:\n  pool: 5\n  password: {CANARY}\n  opaque: {CANARY}\n"
    )
    monkeypatch.setenv("MODELKEEP_SECRET_PLACE", CANARY)
    with running(folder) as server:
        monkeypatch.setenv("MODELKEEP_URL", server.serving.url)
        monkeypatch.setenv("MODELKEEP_SPOOL", str(tmp_path / "spool"))
        cfg = mk.config(App, tmp_path / "app.yaml", cli=[f"db.password={CANARY}"])
        other = mk.config({"place": "secret:PLACE", "copy": "see ${place}", "api_key": CANARY}, name="other")
        cfg.set({"db.pool": 6})
        with pytest.raises(BadInput):
            cfg.set({"db.pool": CANARY, "db.password": CANARY})
        cfg.set({"db.opaque": f"{CANARY}-2"})
        cfg.rollback()
        other.set({"api_key": f"{CANARY}3"})
        mk.log_prediction("m", {"x": 1}, 1.0)
        assert mk.flush(20)
        texts = [repr(cfg), repr(other), repr(cfg.history()), repr(other.history())]
        hashes = [one["hash"] for one in rows(server, "/history", "changes", limit=100)]
        paths = [PATH, f"{PATH}?everyone=true", f"{PATH}/history", "/api/v1/releases", "/metrics", "/api/v1/status"]
        paths += [f"{PATH}/versions/{hash_}" for hash_ in hashes]
        paths += [f"{PATH}/diff?from={before}&to={hashes[0]}" for before in hashes]
        paths += [f"{PATH}/blame?key={key}" for key in ("db.password", "db.opaque", "name", "place", "copy", "api_key")]
        for path in paths:
            answer = server.client.get(path)
            assert answer.status_code == 200, path
            texts.append(answer.text)
        assert not [text for text in texts if CANARY in text]
    client.reset()
    for file in [*folder.rglob("*"), *(tmp_path / "spool").rglob("*")]:
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file


def test_a_process_is_live_for_a_minute() -> None:
    class Clock:
        at = 100 * MINUTE

        def now_ns(self) -> int:
            return self.at

    clock = Clock()
    presence = Presence(clock)
    presence.told("a")
    presence.told("")
    clock.at += MINUTE // 2
    presence.told("b")
    assert presence.live() == {"a", "b"}
    clock.at += MINUTE // 2 + 1
    assert (presence.live(), set(presence.seen())) == ({"b"}, {"a", "b"})


def test_a_process_that_is_away_is_listed_only_when_asked_for(server: Running) -> None:
    gone = envelope(process="gone", name="gone")
    sent = server.client.post(
        "/api/v1/ingest", content=encoding.encode(gone), headers={"Content-Type": encoding.MEDIA_TYPE}
    )
    assert sent.status_code == 200
    assert [one["process"] for one in rows(server, "", "configurations", name="gone")] == ["host:1:gone"]
    server.house.presence._seen.clear()
    assert rows(server, "", "configurations", name="gone") == []
    (found,) = rows(server, "", "configurations", name="gone", everyone=True)
    assert (found["live"], found["seen"]) == (False, None)


def envelope(**changes: Any) -> Envelope:
    given: dict[str, Any] = {
        "service": "s", "host": "h", "process": "host:1:gone", "ids": ["1"], "at": [time.time_ns()],
        "state": ["applied"], "hash": ["ab" * 32], "previous": [""], "name": ["n"], "source": ["f"], "author": ["a"],
        "reason": [""], "error": [""], "differences": ["[]"], "tree": ['{"a": 1}'], "marks": ["{}"],
    }  # fmt: skip
    for name, value in changes.items():
        given[name] = [value] if isinstance(given[name], list) and not isinstance(value, list) else value
    given["process"] = "host:1:gone"
    return Envelope(
        token=f"t{time.time_ns()}", process="host:1:gone", configurations=[encoding.Configurations(**given)]
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": "fine"}, "state row 0: 'fine'"),
        ({"hash": "xyz"}, "hash 'xyz'"),
        ({"tree": "[1]"}, "tree row 0: an array"),
        ({"tree": "{"}, "tree row 0: not JSON"),
        ({"marks": "nothing"}, "marks row 0: not JSON"),
        ({"differences": "{"}, "differences row 0: not JSON"),
        ({"at": [1, 2]}, "column"),
        ({"name": "a\nb"}, "control characters"),
    ],
)
def test_what_is_wrong_on_the_wire_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parts(encoding.encode(envelope(**changes)))
    assert says in caught.value.message


# --- the store by itself ---


def entry(seq: int, *changes: dict[str, object]) -> Entry:
    made = []
    for number, change in enumerate(changes):
        row: dict[str, object] = {name: 0 if kind == "int64" else "" for name, kind in CONFIGURATION}
        row |= {"id": f"{seq}-{number}", "at": seq, "state": "applied", "process": "p", "name": "n", "tree": "{}"}
        made.append(row | {"marks": "{}", "differences": "[]"} | change)
    schema = pa.schema([(name, pa.int64() if kind == "int64" else pa.string()) for name, kind in CONFIGURATION])
    return Entry(seq, "", 0, (Part("configuration", pa.RecordBatch.from_pylist(made, schema=schema)),))


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Entries]:
    made = Entries(tmp_path / "entries.db")
    yield made
    made.close()


def test_a_version_is_kept_once_and_a_restart_doubles_nothing(entries: Entries) -> None:
    store = Configurations(entries)
    one = {"hash": "aa" * 32, "tree": '{"a": 1}', "marks": '{"a": "f:1"}'}
    told = [entry(1, one), entry(2, one | {"process": "q"}), entry(3, {"state": "rejected", "hash": "aa" * 32})]
    store.apply(told)
    again = Configurations(entries)
    assert again.sealed() == 3
    again.apply(told)
    assert len(again.history()) == 3
    assert again.version("aaaa").first_ns == 1
    assert {found.process for found in again.current()} == {"p", "q"}
    assert again.counts() == {"applied": 2, "rejected": 1}
    assert len({found.marks for found in again.history(state="applied")}) == 1
    assert again.seal() == 3


def test_beginnings_of_hashes(entries: Entries) -> None:
    store = Configurations(entries)
    store.apply([entry(1, {"hash": "abcd" + "0" * 60}), entry(2, {"hash": "abcd" + "1" * 60})])
    with pytest.raises(Conflict):
        store.version("abcd")
    assert store.version("abcd0").hash == "abcd" + "0" * 60
    with pytest.raises(Missing):
        store.version("beef")
    for wrong in ("", "abc", "xyzt", "ABCD", "abcd%"):
        with pytest.raises(BadInput):
            store.version(wrong)


def test_what_holds_outlives_the_retention(entries: Entries) -> None:
    store = Configurations(entries)
    store.apply([entry(seq, {"hash": f"{seq:064x}", "marks": f'{{"a": "f:{seq}"}}'}) for seq in range(1, 6)])
    store.apply([entry(6, {"state": "rejected", "hash": f"{5:064x}"})])
    store.expire(10)
    assert [one.hash for one in store.history()] == [f"{5:064x}"]
    with pytest.raises(Missing):
        store.version(f"{4:064x}")
    assert json.loads(store.version(f"{5:064x}").tree) == {}


def test_values_of_keys_named_like_secrets_are_masked() -> None:
    assert shown("app/db/password", b"x") == "***"
    assert shown("app/url", b"pg://a:b@h") == "pg://a:***@h"


def test_a_store_of_the_revision_before_is_brought_up(tmp_path: Path) -> None:
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config

    from modelkeep.store import entries as module

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'entries.db'}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(module._MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text("INSERT INTO reader VALUES ('releases', 7)"))
    engine.dispose()
    made = Entries(tmp_path / "entries.db")
    assert made.revision() >= "0002"
    store = Configurations(made)
    store.apply([entry(8, {"hash": "aa" * 32})])
    assert [one.hash for one in store.current()] == ["aa" * 32]
    with made.connect() as connection:
        assert connection.execute(sa.text("SELECT seq FROM reader WHERE name = 'releases'")).scalar() == 7
    made.close()
