"""`import-url` from paths, from a real HTTP server, and from S3: what is written tells one version from the next."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import md5
from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.formats import metafile
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.import_url import import_url
from modelkeep.data.verbs.status import status
from tests.data.workspaces import again, grow, held, repository, run_dvc

HI = md5(b"hi\n", usedforsecurity=False).hexdigest()
FILES = {"h.txt": b"hi\n", "d/1": b"1\n", "d/e/2": b"2\n"}


class Tagged(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", f'"{md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"')
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = grow(tmp_path / "outside", FILES)
    (folder / "h.txt").chmod(0o755)
    return folder


@pytest.fixture
def served(outside: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Tagged, directory=str(outside)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "here", git=True)
    monkeypatch.chdir(made.root)
    return made


def test_paths(repo: Repository, outside: Path) -> None:
    done = import_url(repo, str(outside / "h.txt"))
    assert (done.path, done.oid) == ("h.txt", HI)
    [dep] = metafile.read(repo.root / "h.txt.dvc").deps
    assert (dep.path, dep.oid, dep.executable, dep.size) == (str(outside / "h.txt"), done.oid, True, 3)
    import_url(again(repo), "../outside/d", "data")
    assert held(Path("data")) == {"1": b"1\n", "e/2": b"2\n"}
    [dep] = metafile.read(repo.root / "data.dvc").deps
    assert (dep.path, dep.nfiles, dep.oid[-4:]) == ("../outside/d", 2, ".dir")
    grow(repo.root, {"sub/local": b"l"})
    import_url(again(repo), "sub/local", "copies/")
    assert metafile.read(repo.root / "copies/local.dvc").deps[0].path == "../sub/local"
    assert status(again(repo)).clean


def test_http(repo: Repository, served: str, outside: Path) -> None:
    import_url(repo, f"{served}/h.txt", "web.txt")
    [dep] = metafile.read(repo.root / "web.txt.dvc").deps
    assert (dep.checksum, dep.oid) == (f'"{HI}"', "")
    assert Path("web.txt").read_bytes() == b"hi\n"
    (outside / "h.txt").write_bytes(b"new\n")
    import_url(again(repo), f"{served}/h.txt", "web.txt", force=True)
    assert Path("web.txt").read_bytes() == b"new\n"
    with pytest.raises(Missing, match="nothing there"):
        import_url(again(repo), f"{served}/none")
    assert status(again(repo)).clean


def test_without_the_data(repo: Repository, served: str, outside: Path) -> None:
    import_url(repo, f"{served}/h.txt", no_download=True)
    import_url(again(repo), str(outside / "d"), no_download=True)
    for name in ("h.txt", "d"):
        found = metafile.read(repo.root / f"{name}.dvc")
        assert found.outs[0].oid == ""
        assert found.deps[0].oid or found.deps[0].checksum
        assert not Path(name).exists()


def test_what_cannot_be(repo: Repository, outside: Path) -> None:
    grow(repo.root, {"h.txt": b"mine"})
    with pytest.raises(Conflict):
        import_url(repo, str(outside / "h.txt"))
    assert Path("h.txt").read_bytes() == b"mine"
    with pytest.raises(Missing):
        import_url(repo, str(outside / "none"))
    with pytest.raises(BadInput, match="gopher"):
        import_url(repo, "gopher://host.example/x")
    with pytest.raises(BadInput, match="password") as caught:
        import_url(repo, "https://me:hunter2@host.example/x")
    assert "hunter2" not in caught.value.message
    with pytest.raises(BadInput, match="inside of it"):
        import_url(repo, str(repo.root.parent), "copy")


@pytest.mark.needs("dvc")
def test_byte_for_byte_what_dvc_writes(repo: Repository, served: str, outside: Path, tmp_path: Path) -> None:
    theirs = repository(tmp_path / "theirs", git=True)
    asked = ((str(outside / "h.txt"), "h"), ("../outside/d", "d"), (f"{served}/h.txt", "w"))
    for url, out in asked:
        run_dvc(theirs, "import-url", url, out)
        import_url(again(repo), url, out)
    for name in ("h.dvc", "d.dvc", "w.dvc", ".gitignore"):
        assert (repo.root / name).read_bytes() == (theirs.root / name).read_bytes(), name
