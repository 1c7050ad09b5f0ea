"""The command line against a real server: its errors, and what a token changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.cli.client import Client, find_url
from modelkeep.core.errors import BadInput, Denied, Missing
from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    server = ServerProcess(tmp_path_factory.mktemp("server") / ".modelkeep")
    yield server.start()
    server.stop()


def run(client: Client, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "MODELKEEP_URL": client.url, **more}
    return subprocess.run(
        [sys.executable, "-m", "modelkeep", *words], env=own, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_server_of_this_folder_is_found(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / ".modelkeep"
    folder.mkdir()
    (folder / "server.json").write_text(f'{{"url": "{client.url}"}}')
    assert find_url(tmp_path) == client.url
    (folder / "server.json").write_text("not json")
    assert find_url(tmp_path) == "http://127.0.0.1:7300"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("query", "rate(up[5m"), "query"),
        (("query", "select * from read_csv('/etc/passwd')"), "read_csv"),
        (("quality", "show", "nobody"), "nobody"),
        (("alert", "ack", "no-such-alert"), "no-such-alert"),
        (("quality", "show", "m", "--as-of", "yesterday"), "yesterday"),
    ],
)
def test_an_error_says_what_is_wrong(client: Client, words: tuple[str, ...], told: str) -> None:
    done = run(client, *words)
    assert done.returncode in {2, 3, 8}
    assert told in done.stderr
    assert "Bad Request" not in done.stderr
    assert done.stdout == ""


def test_doctor_finds_a_healthy_server_in_order(client: Client) -> None:
    done = run(client, "doctor")
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    assert "drill: read-back" in done.stdout


def test_a_silence_is_listed_and_ended(client: Client) -> None:
    made = run(
        client, "alert", "silence", "alertname=X", "model=m", "--for", "2h", "--reason", "planned", "--by", "ann"
    )
    identity = made.stdout.strip()
    assert identity
    listed = run(client, "alert", "silences").stdout
    assert identity in listed
    assert "alertname=X model=m" in listed
    assert run(client, "alert", "unsilence", identity).returncode == 0


def test_history_is_imported_once(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "scored.csv"
    lines = [f"p{n},2026-01-02T00:00:{n:02}Z,{n % 2},{n / 50},{n % 2},{n}" for n in range(50)]
    file.write_text("id,at,prediction,score,label,amount\n" + "\n".join(lines) + "\n")
    words = ("prediction", "import", str(file), "--model", "imported", "--score", "score", "--label", "label")
    for _ in range(2):
        done = run(client, *words)
        assert done.returncode == 0, done.stderr
    assert "50 of them known already" in done.stderr
    (row,) = client.get("/api/v1/quality", model="imported")["rows"]  # type: ignore[misc, union-attr]
    assert (row["predictions"], row["labels"]) == (50, 50)  # type: ignore[index, call-overload]
    listed = run(client, "prediction", "list", "--model", "imported", "--limit", "3").stdout.splitlines()
    assert len(listed) == 4
    assert "label=" in listed[1]


def test_with_a_token_every_question_needs_one(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    client = server.start()
    token = run(client, "token", "create", "me", "--scope", "admin").stdout.strip()
    with pytest.raises(Denied) as refused:
        client.get("/api/v1/models")
    assert "MODELKEEP_TOKEN" in refused.value.hint
    known = Client(client.url, token)
    assert token not in repr(known)
    assert known.get("/api/v1/models") == {"models": []}
    with pytest.raises(Missing):
        known.delete("/api/v1/tokens/nothing")
    with pytest.raises(BadInput, match="form"):
        known.get("/api/v1/models", form="now")
    listed = run(client, "token", "list", MODELKEEP_TOKEN=token).stdout
    assert "me" in listed
    assert token not in listed
    server.stop()
