from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path

import pytest

from modelkeep.configuration.sources.sql import Sql
from modelkeep.core.errors import BadInput, Denied, Missing, Unreachable
from tests.configuration.following import each_is_seen, flood_is_coalesced, restart_is_survived
from tests.configuration.servers import QUOTED, Server, house, pg
from tests.store.remote_servers import free_port

_numbers = count()
postgres = pytest.mark.needs("postgres")


@pytest.fixture
def server() -> Server:
    return house().server("postgresql")


@pytest.fixture
def table() -> str:
    return f"sql{next(_numbers)}"


def address(server: Server, table: str, user: str = "ann", poll: str = "60") -> str:
    return f"postgresql://{user}:{QUOTED}@127.0.0.1:{server.port}/postgres#{table}?poll={poll}"


@postgres
def test_fifty_of_fifty_of_who_says_what_it_writes(server: Server, table: str) -> None:
    writer = Sql(address(server, table))
    each_is_seen(address(server, table), lambda number: writer.write({"n": number}, author="ann"))
    assert pg(server.port, f"SELECT count(*) FROM {table}_history WHERE author = 'ann'") == [(51,)]
    writer.close()


@postgres
def test_fifty_of_fifty_written_by_sql(server: Server, table: str) -> None:
    pg(
        server.port,
        f"CREATE TABLE {table} (key text PRIMARY KEY, value text)",
        f"INSERT INTO {table} VALUES ('n', '0')",
    )
    each_is_seen(
        address(server, table, poll="0.02"), lambda n: pg(server.port, f"UPDATE {table} SET value = '{n}'"), times=50
    )


@postgres
def test_a_flood_is_coalesced(server: Server, table: str) -> None:
    writer = Sql(address(server, table))
    flood_is_coalesced(address(server, table), lambda number: writer.write({"n": number}))
    writer.close()


@postgres
def test_a_restart_is_survived(server: Server, table: str) -> None:
    writer = Sql(address(server, table))
    restart_is_survived(address(server, table), lambda number: writer.write({"n": number}), server)
    writer.close()


@postgres
def test_who_may_not_is_denied(server: Server, table: str) -> None:
    owner = Sql(address(server, table))
    owner.write({"a": 1})
    for user, password in (("eve", QUOTED), ("ann", "wrong"), ("nobody", QUOTED)):
        stranger = Sql(f"postgresql://{user}:{password}@127.0.0.1:{server.port}/postgres#{table}")
        with pytest.raises(Denied):
            stranger.read()
        with pytest.raises(Denied):
            stranger.write({"a": 2})
        stranger.close()
    pg(server.port, f"GRANT SELECT ON {table} TO eve")
    reader = Sql(address(server, table, "eve"))
    seen = reader.read()
    assert seen.tree == {"a": 1}
    assert not reader.watch(seen.version, 0.05)
    owner.write({"a": 2})
    assert reader.watch(seen.version, 5)
    with pytest.raises(Denied):
        reader.write({"a": 3})
    for source in (reader, owner):
        source.close()


@postgres
def test_schemas_databases_and_names_that_need_quotes(server: Server) -> None:
    pg(server.port, "CREATE SCHEMA IF NOT EXISTS conf")
    for table in ("conf.app", "Order", "select", "größe"):
        source = Sql(address(server, table))
        source.write({"a.b": 1})
        seen = source.read()
        assert seen.tree == {"a": {"b": 1}}
        assert not source.watch(seen.version, 0.02)
        source.close()
    nowhere = Sql(f"postgresql://ann:{QUOTED}@127.0.0.1:{server.port}/nowhere#t")
    with pytest.raises(Missing):
        nowhere.read()
    nowhere.close()


@postgres
def test_a_listener_that_is_cut_off_comes_back(server: Server, table: str) -> None:
    source, writer = Sql(address(server, table)), Sql(address(server, table))
    writer.write({"n": 1})
    seen = source.read().version
    assert not source.watch(seen, 0.05)
    pg(server.port, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    writer.write({"n": 2})
    with pytest.raises(Unreachable):
        source.watch(seen, 5)
    assert source.watch(seen, 5)
    assert source.read().tree == {"n": 2}
    for one in (source, writer):
        one.close()


@pytest.mark.parametrize("table", ["", 'a"b', "a;drop table b", "1a", "a.b.c", "a b"])
def test_names_that_are_no_tables(table: str) -> None:
    with pytest.raises(BadInput, match="names no table"):
        Sql(f"sqlite:///x.db#{table}")


@pytest.mark.parametrize("where", ["nonsense://h/db#t", "postgresql://h:port/db#t", "sqlite+nothing:///x#t"])
def test_addresses_that_are_none(where: str) -> None:
    with pytest.raises(BadInput):
        Sql(where)


def test_nobody_listens() -> None:
    source = Sql(f"postgresql://ann:{QUOTED}@127.0.0.1:{free_port()}/db#t")
    with pytest.raises(Unreachable) as caught:
        source.read()
    assert QUOTED not in str(caught.value)
    source.close()


class TestSqlite:
    """A table in a file."""

    def test_history_says_who_and_hides_secrets(self, tmp_path: Path) -> None:
        source = Sql(f"sqlite:///{tmp_path}/conf.db#app")
        source.write({"db.password": "hunter2", "n": 1}, author="ann", reason="first")
        source.write({"db.password": None})
        reading = source.read()
        assert reading.tree == {"n": 1}
        assert str(reading.mark("n")) == "app n"
        line = sqlite3.connect(tmp_path / "conf.db")
        rows = line.execute("SELECT key, value, author, reason FROM app_history ORDER BY number").fetchall()
        line.close()
        first = [("db.password", "***", "ann", "first"), ("n", "1", "ann", "first")]
        assert rows == [*first, ("db.password", None, "", "")]
        source.close()

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        source = Sql(f"sqlite:///{tmp_path}/conf.db#app")
        with pytest.raises(Missing, match="no such file"):
            source.read()
        assert not (tmp_path / "conf.db").exists()
        source.close()

    def test_files_and_tables_of_another_kind(self, tmp_path: Path) -> None:
        (tmp_path / "conf.db").write_bytes(b"no database" * 1000)
        source = Sql(f"sqlite:///{tmp_path}/conf.db#app")
        with pytest.raises(BadInput):
            source.read()
        source.close()
        (tmp_path / "conf.db").unlink()
        line = sqlite3.connect(tmp_path / "conf.db")
        line.execute("CREATE TABLE app (name text, value text)")
        line.close()
        source = Sql(f"sqlite:///{tmp_path}/conf.db#app")
        with pytest.raises(BadInput, match="no such column"):
            source.read()
        source.close()

    def test_values_that_are_numbers_in_the_table(self, tmp_path: Path) -> None:
        line = sqlite3.connect(tmp_path / "conf.db")
        line.execute("CREATE TABLE app (key text, value)")
        line.execute("INSERT INTO app VALUES ('a', 1), ('b', 0.5), ('c', NULL), ('d', '007')")
        line.commit()
        line.close()
        source = Sql(f"sqlite:///{tmp_path}/conf.db#app")
        reading = source.read()
        assert reading.tree == {"a": 1, "b": 0.5, "c": None, "d": 7}
        assert reading.texts == {"d": "007"}
        source.close()
