"""Backup while records come in, restore into a new folder, same answers; and archives that mean harm."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelkeep.core.encoding import Envelope, Facts, Logs, Predictions, Samples, encode
from modelkeep.core.errors import BadInput, Conflict, Corrupt, Missing, Unreachable
from modelkeep.server.backup import FIRST, LAST, restore
from tests.server.conftest import Running, running

ROWS = 40


def envelope(batch: int) -> bytes:
    now = time.time_ns()
    ids = [f"{batch}-{row}" for row in range(ROWS)]
    return encode(
        Envelope(
            token=f"batch{batch}",
            predictions=[
                Predictions("m", "1", "r", ids, [now] * ROWS, {"x": list(range(ROWS))}, [True] * ROWS, [0.5] * ROWS)
            ],
            facts=[Facts(ids, ["m"] * ROWS, ["label"] * ROWS, [True] * ROWS, [""] * ROWS, [now] * ROWS)],
            logs=[Logs("s", "h", [now], [9], ["INFO"], ["l"], [f"batch {batch}"], [None], [None], ["{}"])],
            samples=[Samples([{"__name__": "batches"}], [0], [now], [float(batch)])],
        )
    )


def told(server: Running) -> dict[str, Any]:
    rows: Any = server.post("/api/v1/sql", {"sql": "select count(*), count(distinct id) from prediction"})["rows"]
    facts: Any = server.post("/api/v1/sql", {"sql": "select count(*) from fact"})["rows"]
    quality: Any = server.get("/api/v1/quality", model="m")["rows"]
    return {
        "predictions": rows[0],
        "facts": facts[0][0],
        "quality": [(row["predictions"], row["labels"], row["metrics"]) for row in quality],
        "logs": server.get("/api/v1/logs", q="batch", limit=1)["count"],
        "samples": server.get("/api/v1/query", query="max_over_time(batches[1d])")["data"],
        "silences": server.get("/api/v1/silences"),
    }


def test_a_backup_under_load_restores_to_the_same_answers(tmp_path: Path) -> None:
    archive, sent, ended = tmp_path / "b.tar", [0], threading.Event()
    with running(tmp_path / "data") as server:

        def load() -> None:
            with server.client.__class__(base_url=server.client.base_url, timeout=30) as client:
                while not ended.is_set():
                    assert client.post("/api/v1/ingest", content=envelope(sent[0])).status_code == 200
                    sent[0] += 1

        silence = {"matchers": {"model": "m"}, "duration": "2h", "by": "ann", "reason": "backup"}
        server.post("/api/v1/silences", silence)
        thread = threading.Thread(target=load)
        thread.start()
        while sent[0] < 20:
            time.sleep(0.01)
        server.house.feeds["rows"]._tried(server.house.feeds["rows"]._seal, "sealing")
        before = sent[0]
        with server.client.stream("GET", "/api/v1/backup") as answer:
            assert answer.status_code == 200
            archive.write_bytes(b"".join(answer.iter_bytes()))
        after = sent[0]
        ended.set()
        thread.join()
        silences = told(server)["silences"]
    assert list(tmp_path.joinpath("data").glob("backup-*")) == []
    assert restore(archive, tmp_path / "again") > 3
    with running(tmp_path / "again") as server:
        found = told(server)
        batches = found["logs"]
        assert before <= batches <= after + 1
        assert found["predictions"] == [batches * ROWS, batches * ROWS]
        assert found["facts"] == batches * ROWS
        assert [row[:2] for row in found["quality"]] == [(batches * ROWS, batches * ROWS)]
        assert found["silences"] == silences
        assert server.client.post("/api/v1/ingest", content=envelope(0)).json()["repeated"] is True
        assert server.client.post("/api/v1/ingest", content=envelope(batches)).json()["repeated"] is False
        assert told(server)["predictions"] == [(batches + 1) * ROWS] * 2


def test_two_backups_at_once_are_not_made(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        backup = next(route.answer for route in server.serving.app.routes.all() if route.path == "/api/v1/backup")
        backup._one.acquire()  # type: ignore[attr-defined]
        assert server.client.get("/api/v1/backup").status_code == 429
        backup._one.release()  # type: ignore[attr-defined]
        assert server.client.get("/api/v1/backup").status_code == 200


def archived(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], *, last: bool = True, form: int = 1) -> Path:
    first = tarfile.TarInfo(FIRST)
    every = [(first, json.dumps({"form": form}).encode()), *members]
    files = {member.name: [len(data), hashlib.sha256(data).hexdigest()] for member, data in every}
    if last:
        every.append((tarfile.TarInfo(LAST), json.dumps(files).encode()))
    with tarfile.open(path, "w") as tar:
        for member, data in every:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return path


def plain(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def link(kind: bytes, name: str = "rows/x", to: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


HARM: list[Callable[[], tarfile.TarInfo]] = [
    lambda: plain("../evil"),
    lambda: plain("rows/../../evil"),
    lambda: plain("/tmp/evil"),
    lambda: plain("rows//../../evil"),
    lambda: plain("rows/./x"),
    lambda: plain("rows\\..\\evil"),
    lambda: plain("evil"),
    lambda: plain("server.json"),
    lambda: plain("rows/a\nb"),
    lambda: link(tarfile.SYMTYPE),
    lambda: link(tarfile.LNKTYPE),
    lambda: link(tarfile.CHRTYPE),
    lambda: link(tarfile.FIFOTYPE),
    lambda: link(tarfile.DIRTYPE, to=""),
]


@pytest.mark.parametrize("member", HARM)
def test_nothing_is_written_outside(tmp_path: Path, member: Callable[[], tarfile.TarInfo]) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = archived(tmp_path / "a.tar", [(plain("rows/good"), b"x"), (member(), b"evil")])
    with pytest.raises(BadInput, match="does not belong"):
        restore(archive, inner / "folder")
    assert list(inner.iterdir()) == []
    assert not Path("/tmp/evil").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"inner", "a.tar"}


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    archive = archived(tmp_path / "a.tar", [(plain("rows/x"), b"1"), (plain("rows/x"), b"2")])
    with pytest.raises(BadInput, match="twice"):
        restore(archive, tmp_path / "folder")
    archive = archived(tmp_path / "b.tar", [(plain("rows/x"), b"1"), (plain("rows/x/y"), b"2")])
    with pytest.raises(Unreachable):
        restore(archive, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    good = archived(tmp_path / "good.tar", [(plain("rows/x"), b"x" * 5000)])
    assert restore(good, tmp_path / "one") == 1
    data = bytearray(good.read_bytes())
    for cut in (100, 2_000, 4_000, 7_000):
        (tmp_path / "cut.tar").write_bytes(data[:cut])
        with pytest.raises((Corrupt, BadInput)):
            restore(tmp_path / "cut.tar", tmp_path / "two")
    data[data.index(b"xxxx") + 10] ^= 1
    (tmp_path / "bad.tar").write_bytes(data)
    with pytest.raises(Corrupt, match="rows/x is not what was written"):
        restore(tmp_path / "bad.tar", tmp_path / "two")
    with pytest.raises(Corrupt, match="ends too early"):
        restore(archived(tmp_path / "c.tar", [(plain("rows/x"), b"x")], last=False), tmp_path / "two")
    with pytest.raises(BadInput, match="form 2"):
        restore(archived(tmp_path / "d.tar", [], form=2), tmp_path / "two")
    with pytest.raises(Missing):
        restore(tmp_path / "nothing.tar", tmp_path / "two")
    with pytest.raises(Conflict):
        restore(good, tmp_path / "one")
    assert not (tmp_path / "two").exists()
