"""`modelkeep restore`: from a running server, a version that served with changes nobody committed comes back whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.cli.client import Client
from modelkeep.models.register import register
from tests.models.test_restore import look
from tests.models.trained import trained
from tests.server_process import ServerProcess

SERVING = """
import sys
import modelkeep as mk
cfg = mk.config({"lr": 0.1, "db": {"password": "sesame"}})
loaded = mk.load("churn@" + sys.argv[1], repo=sys.argv[2])
mk.log_prediction("churn", {"income": 1.0, "age": 2.0}, 1, score=0.7)
mk.flush(20)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Client]:
    process = ServerProcess(tmp_path / "house")
    try:
        yield process.start()
    finally:
        process.stop()


def run(folder: Path, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}
    done = subprocess.run(
        [sys.executable, "-m", "modelkeep", *words],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def serve(root: Path, version: str, url: str) -> None:
    script = root / "serve.py"
    script.write_text(SERVING)
    subprocess.run(
        [sys.executable, str(script), version, str(root)],
        cwd=root,
        env={**os.environ, "MODELKEEP_URL": url, "XDG_CACHE_HOME": str(root.parent / "cache")},
        check=True,
        timeout=60,
    )


def timeline(client: Client, expected: int) -> list[dict[str, object]]:
    for _ in range(100):
        rows = client.get("/api/v1/models/timeline", model="churn")["timeline"]
        if len(rows) == expected and all(row["first_prediction"] for row in rows):
            return rows
        time.sleep(0.1)
    raise AssertionError(rows)


def test_what_served_comes_back(tmp_path: Path, server: Client) -> None:
    made = trained(tmp_path / "r", tmp_path / "remote")
    root = made.git.root
    register(made, "churn", "v1.0.0", rev="HEAD~1")
    register(made, "churn", "v1.1.0")
    made.git.close()
    serve(root, "v1.1.0", server.url)  # serve.py itself was never committed
    (row,) = timeline(server, 1)
    assert row["dirty"]
    expected = look(root)
    known = {"MODELKEEP_URL": server.url}

    told = json.loads(run(root, "restore", "churn@v1.1.0", str(tmp_path / "back"), "--json", **known).stdout)
    assert look(tmp_path / "back") == expected
    assert told["patched"] == ["serve.py"]
    assert told["lacking"] == []
    (configuration,) = told["configurations"]
    kept = json.loads((tmp_path / "back" / configuration).read_text())
    assert kept["lr"] == 0.1
    assert "sesame" not in (tmp_path / "back" / configuration).read_text()

    moment = str(row["last_prediction"])
    run(root, "restore", f"churn@{moment}", str(tmp_path / "then"), **known)
    assert look(tmp_path / "then") == expected
    run(root, "restore", str(row["releases"][0])[:12], str(tmp_path / "release"), **known)  # type: ignore[index]
    assert look(tmp_path / "release") == expected

    clean = run(root, "restore", "churn@v1.1.0", str(tmp_path / "clean"), "--clean", **known)
    assert "left out, as asked" in clean.stderr
    assert not (tmp_path / "clean/serve.py").exists()


def test_without_a_server_the_commit_comes_back(tmp_path: Path) -> None:
    made = trained(tmp_path / "r", tmp_path / "remote")
    root = made.git.root
    register(made, "churn", "v1.0.0")
    made.git.close()
    done = run(root, "restore", "churn@v1.0.0", str(tmp_path / "back"))
    assert look(tmp_path / "back") == look(root)
    assert "no server is known" in done.stderr
    refused = run(root, "restore", "churn@2026-01-01", str(tmp_path / "other"), code=2)
    assert "MODELKEEP_URL" in refused.stderr
    assert run(root, "restore", "nonsense", str(tmp_path / "other"), code=2).stderr
    assert not (tmp_path / "other").exists()
