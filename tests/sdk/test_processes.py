"""Real processes of every form of deployment: each prediction is counted exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

THREE_LINES = """
import modelkeep as mk

@mk.watch("credit")
def predict(features):
    return 0.25 if features["income"] > 10 else 0.75

"""

SCRIPT = THREE_LINES + "for number in range(1000): predict({'income': number})"

BATCH = """
import numpy, pandas
import modelkeep as mk
frame = pandas.DataFrame({"income": range(1000)})
mk.log_prediction("credit", frame, frame["income"] < 10, score=numpy.where(frame["income"] > 10, 0.25, 0.75))
"""

NOTEBOOK = f"""
cells = [{THREE_LINES!r}] + ["for number in range(500): predict({{'income': number}})"] * 2
space = {{"__name__": "__main__"}}
for cell in cells:
    exec(compile(cell, "<cell>", "exec"), space)
"""

FASTAPI = (
    THREE_LINES
    + """
import asyncio, fastapi, httpx
app = fastapi.FastAPI()
app.add_middleware(mk.ASGI)

@app.post("/predict")
async def serve(features: dict):
    return predict(features)

async def clients():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        for start in range(0, 1000, 50):
            await asyncio.gather(*(client.post("/predict", json={"income": n}) for n in range(start, start + 50)))
asyncio.run(clients())
"""
)

FLASK = (
    THREE_LINES
    + """
import flask
app = flask.Flask("app")
app.wsgi_app = mk.WSGI(app.wsgi_app)

@app.post("/predict")
def serve():
    return {"score": predict(flask.request.get_json())}

client = app.test_client()
for number in range(1000):
    assert client.post("/predict", json={"income": number}).get_json()["score"] > 0
"""
)

FORKED = (
    THREE_LINES
    + """
import os
predict({"income": 0})
workers = []
for worker in range(4):
    pid = os.fork()
    if pid == 0:
        for number in range(200):
            predict({"income": number})
        raise SystemExit
    workers.append(pid)
for pid in workers:
    os.waitpid(pid, 0)
for number in range(199):
    predict({"income": number})
"""
)

POOL = (
    THREE_LINES
    + """
import multiprocessing
def work(worker):
    for number in range(250):
        predict({"income": number})
if __name__ == "__main__":
    multiprocessing.set_start_method("%s")
    workers = [multiprocessing.Process(target=work, args=(worker,)) for worker in range(4)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
"""
)


def environment(receiver, tmp_path: Path, **more: str) -> dict[str, str]:
    own = {"MODELKEEP_URL": receiver.url, "MODELKEEP_SPOOL": str(tmp_path / "spool"), "PYTHONWARNINGS": "error"}
    return {**os.environ, **own, **more}


def run(receiver, tmp_path: Path, code: str, **more: str) -> str:
    script = tmp_path / "program.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(receiver, tmp_path, **more),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", ["SCRIPT", "FASTAPI", "FLASK", "BATCH", "NOTEBOOK", "FORKED"])
def test_every_form_of_deployment_is_counted_exactly(receiver, tmp_path, name: str) -> None:
    complaints = run(receiver, tmp_path, globals()[name])
    rows = receiver.rows()
    assert len(rows) == len({row["id"] for row in rows}) == 1000
    assert all("income" in row["features"] for row in rows)
    assert all(row["score"] == (0.25 if row["features"]["income"] > 10 else 0.75) for row in rows)
    assert complaints == ""
    releases = [release for envelope in receiver.envelopes for release in envelope.releases]
    assert {release.id for release in releases} == {part.release for part in receiver.predictions}
    assert len({release.id for release in releases}) == (5 if name == "FORKED" else 1)
    if name in {"FASTAPI", "FLASK"}:
        counted = {
            dict(labels)["status"]: value
            for labels, value in receiver.series().items()
            if dict(labels)["__name__"] == "http_requests_total"
        }
        assert counted == {"200": 1000}
        assert {dict(labels)["route"] for labels in receiver.series() if "route" in dict(labels)} == {"/predict"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_is_counted_exactly(receiver, tmp_path, method: str) -> None:
    run(receiver, tmp_path, POOL % method)
    assert len(receiver.ids) == len(set(receiver.ids)) == 1000


def test_a_killed_process_leaves_its_spool_to_the_next(receiver, tmp_path) -> None:
    receiver.stop()
    code = """
import sys, time
import modelkeep as mk
for number in range(100):
    mk.log_prediction("m", {"a": number}, number, id=f"p{number:03}")
time.sleep(1)
print("spooled", flush=True)
time.sleep(60)
"""
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(receiver, tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as model:
            assert model.stdout is not None
            assert model.stdout.readline() == "spooled\n"
            model.send_signal(signal.SIGKILL)
    receiver.start()
    run(receiver, tmp_path, "import modelkeep as mk\nmk.truth('p000', 1)\nassert mk.flush(20)")
    assert sorted(receiver.ids) == sorted([f"p{number:03}" for number in range(100)] * 2)
    assert len(receiver.facts) == 1
    assert not list((tmp_path / "spool").glob("*/*"))


def test_the_end_of_a_process_waits_no_longer_than_its_limit(receiver, tmp_path) -> None:
    receiver.silent.set()
    code = "import modelkeep as mk\nfor number in range(100): mk.log_prediction('m', {'a': number}, number)"
    start = time.monotonic()
    run(receiver, tmp_path, code, MODELKEEP_EXIT_S="1")
    assert time.monotonic() - start < 4
    receiver.silent.clear()
    run(receiver, tmp_path, "import modelkeep as mk\nmk.truth('a', 1)\nassert mk.flush(20)")
    assert len(set(receiver.ids)) == len(receiver.ids) == 100


def test_a_batch_that_the_end_cuts_short_arrives_by_the_next(receiver, tmp_path) -> None:
    receiver.silent.set()
    code = """
import pandas
import modelkeep as mk
mk.log_prediction("m", {"a": 1}, 1, id="first")
mk.log_prediction("m", pandas.DataFrame({"a": range(45_000)}), range(45_000), id=range(45_000))
mk.log_prediction("m", {"a": 1}, 1, id="last")
"""
    run(receiver, tmp_path, code, MODELKEEP_EXIT_S="0.5")
    receiver.silent.clear()
    run(receiver, tmp_path, "import modelkeep as mk\nmk.truth('a', 1)\nassert mk.flush(20)")
    assert receiver.ids == ["first", *map(str, range(45_000)), "last"]


def test_a_process_whose_server_is_away_ends_at_once(receiver, tmp_path) -> None:
    receiver.stop()
    start = time.monotonic()
    complaints = run(receiver, tmp_path, "import modelkeep as mk\nmk.log_prediction('m', {'a': 1}, 1)")
    assert time.monotonic() - start < 3
    assert complaints.count("\n") == 1
    receiver.start()
    run(receiver, tmp_path, "import modelkeep as mk\nmk.truth('a', 1)\nassert mk.flush(20)")
    assert len(receiver.ids) == 1


def test_an_exception_that_ends_the_process_loses_nothing(receiver, tmp_path) -> None:
    run(
        receiver,
        tmp_path,
        "import sys\nimport modelkeep as mk\nmk.log_prediction('m', {'a': 1}, 1)\n"
        "sys.excepthook = lambda *_: None\n"
        "import atexit, os\natexit.register(lambda: None)\nsys.exit(0)",
    )
    assert len(receiver.ids) == 1


def test_a_fork_neither_repeats_nor_loses_what_the_parent_holds(receiver, tmp_path) -> None:
    receiver.stop()
    code = """
import os, time
import modelkeep as mk
for number in range(50): mk.log_prediction("m", {"a": number}, number, id=f"parent{number}")
time.sleep(0.6)
for number in range(50, 60): mk.log_prediction("m", {"a": number}, number, id=f"parent{number}")
pid = os.fork()
who = "child" if pid == 0 else "parent"
for number in range(60, 100): mk.log_prediction("m", {"a": number}, number, id=f"{who}{number}")
if pid:
    os.waitpid(pid, 0)
"""
    run(receiver, tmp_path, code)
    receiver.start()
    run(receiver, tmp_path, "import modelkeep as mk\nmk.truth('a', 1)\nassert mk.flush(20)")
    wanted = [f"parent{number}" for number in range(100)] + [f"child{number}" for number in range(60, 100)]
    assert sorted(receiver.ids) == sorted(wanted)


def test_disabled_and_wrong_addresses_send_nothing(receiver, tmp_path) -> None:
    code = "import modelkeep as mk, threading\nmk.log_prediction('m', {}, 1)\nassert threading.active_count() == 1"
    assert run(receiver, tmp_path, code, MODELKEEP_DISABLED="1") == ""
    assert "not an http address" in run(receiver, tmp_path, code, MODELKEEP_URL="localhost:7300")
    assert run(receiver, tmp_path, code, MODELKEEP_URL="") == ""
    assert receiver.envelopes == []
    assert not (tmp_path / "spool").exists()


def test_an_address_set_after_the_first_call_is_found(receiver, tmp_path) -> None:
    code = f"""
import os, time
import modelkeep as mk
mk.log_prediction("m", {{"a": 1}}, 1)
os.environ["MODELKEEP_URL"] = {receiver.url!r}
time.sleep(1.1)
mk.log_prediction("m", {{"a": 1}}, 1)
"""
    run(receiver, tmp_path, code, MODELKEEP_URL="")
    assert len(receiver.ids) == 1
