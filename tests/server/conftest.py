"""A real server in a thread of the test's process, on a free port of loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from modelkeep.server.run import Serving
from modelkeep.server.settings import Settings

Start = Callable[..., "Running"]


class Running:
    """A server that runs, and a client that talks to it."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.house = serving.house
        self.client = httpx.Client(base_url=serving.url, timeout=30)

    def get(self, path: str, **parameters: object) -> dict[str, object]:
        answer = self.client.get(path, params=parameters)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, body: object, **headers: str) -> dict[str, object]:
        answer = self.client.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@contextmanager
def running(folder: Path, **settings: object) -> Iterator[Running]:
    given = {"self_sampling": False, "port": 0, **settings}
    serving = Serving(Settings(data=str(folder), **given))  # type: ignore[arg-type]
    serving.start()
    found = Running(serving)
    try:
        yield found
    finally:
        found.client.close()
        serving.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One open server for all tests of a file."""
    with running(tmp_path_factory.mktemp("server") / "data") as found:
        yield found
