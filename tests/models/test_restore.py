"""What ran comes back byte for byte: code with what was never committed, data, model and configuration."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelkeep.code.patch import inflated, make
from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Conflict, Corrupt, Missing
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.push import push
from modelkeep.models.register import register
from modelkeep.models.registry import Registry
from modelkeep.models.restore import BESIDE, Ran, restore
from tests.code.repositories import git
from tests.data.workspaces import grow
from tests.models.trained import WEIGHTS, save, trained
from tests.store import remote_servers


def look(folder: Path) -> dict[str, tuple[bytes | str, bool]]:
    """Every file below a folder with its bytes and whether it may be run, but git's, DVC's own and what is beside."""
    found: dict[str, tuple[bytes | str, bool]] = {}
    for top, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in {".git", "cache", "tmp", BESIDE}]
        for name in files:
            path = Path(top, name)
            value = str(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[path.relative_to(folder).as_posix()] = value, bool(path.lstat().st_mode & stat.S_IXUSR)
    return found


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = trained(tmp_path / "r", tmp_path / "remote")
    register(made, "churn", "v1.0.0", rev="HEAD~1")
    register(made, "churn", "v1.1.0")
    with made.git:
        yield made


def patched(folder: Path) -> bytes:
    found = make(folder)
    assert found is not None
    return inflated(found.deflated, found.digest, found.size)


def test_a_clean_version_is_what_was_committed(registry: Registry, tmp_path: Path) -> None:
    version = registry.resolve("churn@v1.1.0")
    made = restore(registry.git, Ran("churn", "v1.1.0", version.commit), tmp_path / "back", version=version)
    assert look(tmp_path / "back") == look(registry.git.root)
    assert (tmp_path / "back" / made.model).read_bytes() == WEIGHTS
    assert not made.lacking
    assert not (tmp_path / "back/.git").exists()
    record = json.loads((tmp_path / "back" / BESIDE / "record.json").read_text())
    assert record["commit"] == version.commit
    assert record["version"] == "v1.1.0"


def test_an_older_version_has_its_own_data(registry: Registry, tmp_path: Path) -> None:
    version = registry.resolve("churn@v1.0.0")
    restore(registry.git, Ran("churn", "v1.0.0", version.commit), tmp_path / "back", version=version)
    assert (tmp_path / "back/data/train.csv").read_bytes() == b"a,b\n1,2\n"


def test_what_was_never_committed_comes_back_too(registry: Registry, tmp_path: Path) -> None:
    root = registry.git.root
    (root / "dvc.yaml").write_text("artifacts: {churn: {path: model.pkl, desc: changed}}\n")
    (root / "metrics.json").unlink()
    grow(
        root,
        {"new/räum e.py": b"print(1)\r\n", "binary": bytes(range(256)), "data/more.csv": b"c\n", "model.pkl": b"2"},
    )
    (root / "new/räum e.py").chmod(0o755)
    (root / "link").symlink_to("binary")
    repo = Repository(root)
    add(repo, [root / "data", root / "model.pkl"])
    push(repo)
    head = git(root, "rev-parse", "HEAD").strip()
    made = restore(registry.git, Ran("churn", "dev", head, patch=patched(root)), tmp_path / "back")
    assert look(tmp_path / "back") == look(root)
    assert "metrics.json" in made.patched


@pytest.mark.needs("moto_server")
def test_from_an_object_store_without_any_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    (tmp_path / "server").mkdir()
    with remote_servers.s3(tmp_path / "server") as port:
        made = trained(tmp_path / "r", tmp_path / "unused")
        root = made.git.root
        (root / ".dvc/config").write_text(
            f"[core]\n    remote = s\n['remote \"s\"']\n    url = s3://{remote_servers.BUCKET}/kept\n"
            f"    endpointurl = http://127.0.0.1:{port}\n    region = us-east-1\n"
        )
        save(root, "Keep it in the store")
        push(Repository(root))
        expected = look(root)
        shutil.rmtree(root / ".dvc/cache")
        shutil.rmtree(tmp_path / "unused")
        register(made, "churn", "v2.0.0")
        version = made.resolve("churn@v2.0.0")
        with made.git:
            restored = restore(made.git, Ran("churn", "v2.0.0", version.commit), tmp_path / "back", version=version)
        assert look(tmp_path / "back") == expected
        assert (tmp_path / "back" / restored.model).read_bytes() == WEIGHTS

        grow(root, {"data/more.csv": b"c\n", "fix.py": b"print(2)\n"})
        add(Repository(root), [root / "data"])
        push(Repository(root))
        dirty, patch = look(root), patched(root)
        shutil.rmtree(root / ".dvc/cache")
        with Git(root) as again:
            restore(again, Ran("churn", "dev", version.commit, patch=patch), tmp_path / "dirty")
        assert look(tmp_path / "dirty") == dirty


def test_configurations_lie_beside_the_code(registry: Registry, tmp_path: Path) -> None:
    commit = registry.resolve("churn@v1.1.0").commit
    ran = Ran("churn", "v1.1.0", commit, configurations={"ab" * 16: {"lr": 0.1}, "cd" * 16: None})
    made = restore(registry.git, ran, tmp_path / "back", data=False)
    assert [json.loads((tmp_path / "back" / name).read_text()) for name in made.configurations] == [{"lr": 0.1}]
    assert len(made.lacking) == 1
    assert "cdcd" in made.lacking[0]
    assert not (tmp_path / "back/data").exists()


def test_a_failure_leaves_the_folder_empty(registry: Registry, tmp_path: Path) -> None:
    commit = registry.resolve("churn@v1.1.0").commit
    shutil.rmtree(registry.git.root / ".dvc/cache")
    shutil.rmtree(tmp_path / "remote")
    (tmp_path / "back").mkdir()
    with pytest.raises(Missing):
        restore(registry.git, Ran("churn", "v1.1.0", commit), tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "r"]
    with pytest.raises(Corrupt):
        restore(registry.git, Ran("churn", "v1.1.0", commit, patch=b"nonsense"), tmp_path / "back", data=False)
    assert list((tmp_path / "back").iterdir()) == []


def test_what_cannot_be_done_is_said(registry: Registry, tmp_path: Path) -> None:
    commit = registry.resolve("churn@v1.1.0").commit
    grow(tmp_path / "full", {"mine": b"1"})
    with pytest.raises(Conflict, match="not empty"):
        restore(registry.git, Ran("churn", "v1.1.0", commit), tmp_path / "full")
    with pytest.raises(Missing, match="without git"):
        restore(registry.git, Ran("churn", "v1.1.0", ""), tmp_path / "back")
    with pytest.raises((Missing, BadInput), match="0000"):
        restore(registry.git, Ran("churn", "v1.1.0", "0" * 40), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_an_address_of_git_does_as_well(registry: Registry, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(registry.git.root), "bare.git")
    version = registry.resolve("churn@v1.1.0")
    with Git(tmp_path / "bare.git") as bare:
        restore(bare, Ran("churn", "v1.1.0", version.commit), tmp_path / "back")
    assert look(tmp_path / "back") == look(registry.git.root)
