"""A disk that is really full: reads go on, ingest says busy, and opens again by itself when there is room."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.cli.client import Client
from modelkeep.core.encoding import MEDIA_TYPE, Envelope, Predictions, encode
from modelkeep.core.errors import Busy
from modelkeep.core.ids import token
from tests.server_process import ServerProcess

ROWS = 500


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MB, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system needs root: mount -t tmpfs; the journal's own tests inject ENOSPC instead")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def envelope(batch: int) -> bytes:
    now = time.time_ns()
    filler = os.urandom(700).hex()
    return encode(
        Envelope(
            token=token(),
            predictions=[
                Predictions(
                    model="m",
                    version="1",
                    release="r",
                    ids=[f"{batch}-{row}" for row in range(ROWS)],
                    at=[now] * ROWS,
                    features={"text": [f"{filler}{row}" for row in range(ROWS)]},
                    prediction=[0.5] * ROWS,
                )
            ],
        )
    )


def fill(client: Client, limit: int) -> int:
    """Sends batches until the server says busy and gives how many it took."""
    for batch in range(limit):
        try:
            client.ingest(envelope(batch), MEDIA_TYPE)
        except Busy:
            return batch
    raise AssertionError(f"{limit} batches fitted")


def count(client: Client) -> int:
    rows = client.post("/api/v1/sql", {"sql": "select count(*) from prediction"})["rows"]
    assert isinstance(rows, list)
    (only,) = rows
    assert isinstance(only, list)
    (number,) = only
    assert isinstance(number, int)
    return number


@pytest.mark.timeout(180)
def test_a_full_disk_closes_ingest_keeps_reading_and_opens_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (24 << 20))
    server = ServerProcess(small_disk / "data", MODELKEEP_DISK_FLOOR_BYTES="0")
    client = server.start()
    taken = fill(client, 2_000)
    assert taken > 0
    assert count(client) == taken * ROWS
    assert client.get("/healthz") is not None
    ballast.unlink()
    end, again = time.monotonic() + 30, 0
    while time.monotonic() < end and not again:
        try:
            client.ingest(envelope(10_000), MEDIA_TYPE)
            again = 1
        except Busy:
            time.sleep(0.2)
    assert again
    assert count(client) == (taken + again) * ROWS
    server.kill()
    client = server.start()
    assert count(client) == (taken + again) * ROWS
    server.stop()
