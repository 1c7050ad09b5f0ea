"""The server away while a model's process keeps calling: everything arrives afterwards, once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.server_process import ServerProcess

CALLS = """
import sys, time
import modelkeep as mk
end, number = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    identity = mk.log_prediction("m", {"x": number}, number % 2 == 0, score=0.25, id=f"p{number}", version="1")
    mk.truth(identity, True, model="m")
    number += 1
    time.sleep(0.01)
print(number, mk.flush(60))
"""


@pytest.mark.parametrize("away_s", [6, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.timeout(300)
def test_calls_during_an_absence_arrive_once(tmp_path: Path, away_s: int) -> None:
    server = ServerProcess(tmp_path / "data")
    client = server.start()
    own = {**os.environ, "MODELKEEP_URL": client.url, "MODELKEEP_SPOOL": str(tmp_path / "spool")}
    with subprocess.Popen(
        [sys.executable, "-c", CALLS, str(away_s + 4)],
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as model:
        time.sleep(2)
        server.kill()
        time.sleep(away_s)
        client = server.start()
        out, complaints = model.communicate(timeout=120)
    assert model.returncode == 0, complaints
    number, flushed = out.split()
    assert flushed == "True", complaints
    told = client.post("/api/v1/sql", {"sql": "select count(*), count(distinct id) from prediction"})
    assert told["rows"] == [[int(number), int(number)]]
    told = client.post("/api/v1/sql", {"sql": "select count(*), count(distinct id) from fact"})
    assert told["rows"] == [[int(number), int(number)]]
    assert int(number) > 100 * away_s / 2
    server.stop()
