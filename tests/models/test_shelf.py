"""What is kept of a large registry is what its tags say, whoever changed them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from modelkeep.code.repository import Git
from modelkeep.models.register import deprecate, promote, register, rollback
from modelkeep.models.registry import Registry
from modelkeep.models.shelf import Shelf
from tests.code.repositories import commit, git, repository
from tests.models.registries import START, make

COUNT = 1_100


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough versions to be worth a file, each at a commit of its own, promotions, and a tag that is none."""
    folder = repository(tmp_path_factory.mktemp("large") / "r")
    lines = []
    for number in range(1, COUNT + 1):
        who = f"Ann <ann@example.org> {START + number} +0000\ndata 2\nx\n\n"
        lines.append(f"commit refs/heads/main\nmark :{number}\ncommitter {who}")
        name = f"m@v0.{number // 10}.{number % 10}" if number % 11 else f"other@v0.0.{number}"
        lines.append(f"tag {name}\nfrom :{number}\ntagger {who}")
        if number % 5 == 0:
            lines.append(f"tag m#prod#{number // 5}\nfrom :{number}\ntagger {who}")
    subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, input="".join(lines).encode(), check=True)
    git(folder, "tag", "m@v9.9.9", "main")
    git(folder, "pack-refs", "--all")
    return folder


@pytest.fixture
def root(large: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(large, tmp_path / "r"))


def kept(root: Path) -> Path:
    return root / ".git/modelkeep/registry"


def models(root: Path) -> dict[str, object]:
    shelf = Shelf(Git(root))
    return {name: shelf.model(name) for name in sorted(shelf.names)} | {"problems": shelf.problems, "": shelf.counts}


def check(root: Path) -> bytes:
    """What is kept says what the tags say; gives it."""
    first = models(root)
    data = kept(root).read_bytes()
    assert models(root) == first
    assert kept(root).read_bytes() == data
    kept(root).unlink()
    assert models(root) == first
    return kept(root).read_bytes()


def test_it_is_kept_and_says_the_same(root: Path) -> None:
    check(root)
    found = Registry(Git(root))
    assert [len(found.versions(name)) for name in ("m", "other")] == [1_000, 100]
    assert [one.tag for one in found.problems()] == ["m@v9.9.9"]


def test_whoever_changes_a_tag_is_heard(root: Path) -> None:
    found = Registry(Git(root))
    found.artifacts()
    before = check(root)
    make(found, "m#prod#5000", "main~3", "Assigning stage prod to artifact m version v0.109.7", at_s=9_000)
    assert check(root) != before
    assert found.stages("m")["prod"].version == "v0.109.7"
    git(root, "tag", "-d", "m#prod#5000")
    found.refresh()
    assert found.stages("m")["prod"].version != "v0.109.7"
    check(root)
    git(root, "tag", "-fa", "other@v0.0.11", "main", "-m", "moved")
    found.refresh()
    assert found.resolve("other@v0.0.11").commit == git(root, "rev-parse", "main")
    check(root)


def test_what_we_do_is_kept_for_the_next(root: Path) -> None:
    Registry(Git(root)).artifacts()
    commit(root, {"a": b""})
    ours = Registry(Git(root))
    register(ours, "m", "v1.0.0")
    promote(ours, "m@v1.0.0", "prod")
    rollback(ours, "m", "prod")
    deprecate(ours, "other")
    data = kept(root).read_bytes()
    again = Registry(Git(root))
    assert again.resolve("m@v1.0.0").number == 1_001
    assert [one.name for one in again.artifacts()] == ["m"]
    assert kept(root).read_bytes() == data
    after = models(root)
    kept(root).unlink()
    assert models(root) == after


def test_what_others_do_meanwhile_is_not_kept_without_them(root: Path) -> None:
    Registry(Git(root)).artifacts()
    shelf = Shelf(Git(root))
    git(root, "tag", "-a", "m#dev#7000", "main", "-m", "by somebody else")
    git(root, "tag", "-a", "m#prod#7001", "main", "-m", "ours")
    from modelkeep.code.tags import tag

    mine = tag(Git(root), "m#prod#7001")
    assert mine is not None
    data = kept(root).read_bytes()
    shelf.take(mine)
    shelf.keep()
    assert kept(root).read_bytes() == data
    assert set(Registry(Git(root)).stages("m")) == {"dev", "prod"}


@pytest.mark.parametrize("cut", [0, 1, 100, -100, -1])
def test_a_broken_file_is_read_around(root: Path, cut: int) -> None:
    whole = models(root)
    data = kept(root).read_bytes()
    kept(root).write_bytes(data[:cut] if cut >= 0 else data[:cut] + bytes(-cut))
    assert models(root) == whole


def test_bytes_that_changed_inside_are_noticed(root: Path) -> None:
    whole = models(root)
    data = kept(root).read_bytes()
    at = data.index(b"refs") if b"refs" in data else data.index(b"Ann <ann")
    kept(root).write_bytes(data[: at - 1] + b"\xc1" + data[at:])
    assert models(root) == whole


def test_without_leave_to_write_everything_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def refused(**_: object) -> tuple[int, str]:
        raise PermissionError

    monkeypatch.setattr(tempfile, "mkstemp", refused)
    assert len(models(root)) == 4
    assert not kept(root).exists()


def test_small_registries_are_not_kept(tmp_path: Path) -> None:
    folder = repository(tmp_path / "small")
    commit(folder, {"a": b""})
    register(Registry(Git(folder)), "m")
    assert not kept(folder).exists()
