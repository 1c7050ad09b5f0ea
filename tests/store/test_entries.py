"""Decisions in SQLite: migrations, transactions, several processes, copies."""

from __future__ import annotations

import importlib.metadata
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import modelkeep.store
from modelkeep.core.errors import BadInput, Conflict, Corrupt
from modelkeep.store.entries import Entries
from modelkeep.store.tables import REVISION, metadata, reader, silence, transition

MIGRATIONS = Path(modelkeep.store.__file__).parent / "migrations"


def test_a_new_file_stands_at_the_newest_migration_and_has_the_tables(tmp_path: Path) -> None:
    entries = Entries(tmp_path / "deep" / "entries.db")
    assert entries.revision() == REVISION
    with entries.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    entries.close()


def test_the_newest_migration_is_the_one_that_the_tables_name() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_the_migrations_are_in_the_installed_package() -> None:
    held = {path.relative_to(MIGRATIONS).as_posix() for path in MIGRATIONS.rglob("*.py")}
    assert {"env.py", "versions/r0001_foundation.py"} <= held
    assert importlib.metadata.version("alembic")


def test_an_address_may_be_given(tmp_path: Path) -> None:
    for place in (f"sqlite:///{tmp_path}/a.db", f"{tmp_path}/b.db"):
        Entries(place).close()
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["a.db", "b.db"]
    with pytest.raises(BadInput, match="kept in 'postgresql'"):
        Entries("postgresql://host/db")


def test_a_newer_store_is_refused_by_both_names(tmp_path: Path) -> None:
    path = tmp_path / "entries.db"
    Entries(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(Conflict, match=f"revision 9999, this modelkeep knows up to {REVISION}"):
        Entries(path)


def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "entries.db"
    path.write_bytes(b"not a database at all, but long enough to be read as a header" * 20)
    with pytest.raises(Corrupt, match=re.escape(str(path))):
        Entries(path)


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    entries = Entries(tmp_path / "entries.db")
    with pytest.raises(sa.exc.IntegrityError), entries.begin() as connection:
        connection.execute(sa.text("INSERT INTO reader VALUES ('b', 1), ('a', 1), ('a', 2)"))
    with entries.connect() as connection:
        assert connection.execute(sa.select(reader)).all() == []
    entries.close()


def test_a_reader_sees_one_moment(tmp_path: Path) -> None:
    entries = Entries(tmp_path / "entries.db")
    with entries.connect() as connection:
        assert connection.execute(sa.select(reader)).all() == []
        with entries.begin() as writer:
            writer.execute(reader.insert().values(name="a", seq=1))
        assert connection.execute(sa.select(reader)).all() == []
    with entries.connect() as connection:
        assert len(connection.execute(sa.select(reader)).all()) == 1
    entries.close()


def test_writers_in_many_threads_wait_for_each_other(tmp_path: Path) -> None:
    entries = Entries(tmp_path / "entries.db")
    with entries.begin() as connection:
        connection.execute(reader.insert().values(name="count", seq=0))

    def count() -> None:
        for _ in range(10):
            with entries.begin() as connection:
                seq = connection.execute(sa.select(reader.c.seq)).scalar_one()
                connection.execute(reader.update().values(seq=seq + 1))

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with entries.connect() as connection:
        assert connection.execute(sa.select(reader.c.seq)).scalar_one() == 60
    entries.close()


def test_many_processes_open_one_new_file(tmp_path: Path) -> None:
    path = tmp_path / "entries.db"
    source = "import sys; from modelkeep.store.entries import Entries; print(Entries(sys.argv[1]).revision())"
    command = [sys.executable, "-W", "error", "-c", source, str(path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert (out.strip(), err) == (REVISION, "")


def test_a_copy_taken_while_writing_is_whole_and_opens(tmp_path: Path) -> None:
    entries = Entries(tmp_path / "entries.db")
    with entries.begin() as connection:
        connection.execute(reader.insert().values(name="a", seq=1))
    with entries.begin() as connection:
        connection.execute(reader.insert().values(name="b", seq=2))
        entries.backup(tmp_path / "copy" / "entries.db")
    with pytest.raises(Conflict, match="exists already"):
        entries.backup(tmp_path / "copy" / "entries.db")
    copy = Entries(tmp_path / "copy" / "entries.db")
    with copy.connect() as connection:
        assert connection.execute(sa.select(reader.c.name)).all() == [("a",)]
    copy.close()
    entries.close()
    assert not list((tmp_path / "copy").glob("*-wal"))


def test_json_columns_and_counted_keys(tmp_path: Path) -> None:
    entries = Entries(tmp_path / "entries.db")
    change = {"at_ns": 1, "alert": "x", "rule": "r", "labels": {"model": "m"}, "from_state": "", "to_state": "pending"}
    with entries.begin() as connection:
        for _ in range(2):
            connection.execute(transition.insert().values(**change, value=float("nan")))
        connection.execute(
            silence.insert().values(
                {
                    "id": "s",
                    "matchers": {"a": "b"},
                    "start_ns": 1,
                    "end_ns": 2,
                    "by": "me",
                    "reason": "",
                    "created_ns": 1,
                }
                | {"clock": "wall"}
            )
        )
    with entries.connect() as connection:
        found = connection.execute(sa.select(transition)).all()
        assert [(row.seq, row.labels, row.value) for row in found] == [
            (1, {"model": "m"}, None),
            (2, {"model": "m"}, None),
        ]
        assert connection.execute(sa.select(silence.c.by)).scalar() == "me"
    entries.close()


def test_importing_the_store_does_not_load_the_database_library() -> None:
    source = (
        "import sys, modelkeep.store.engines.rows; sys.exit('sqlalchemy' in sys.modules or 'alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
