"""What is tracked at a revision is found without a checkout, in every kind of metafile."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelkeep.code.repository import Git
from modelkeep.core.errors import BadInput, Missing
from modelkeep.data.elsewhere.revisions import tracked_at, tracked_ever
from tests.data.registries import registry, save
from tests.data.workspaces import grow, repository, run_git

ONE, TWO = "1" * 32, "2" * 32


def metafile(oid: str, path: str, wdir: str = "") -> bytes:
    head = f"wdir: {wdir}\n" if wdir else ""
    return f"{head}outs:\n- md5: {oid}\n  size: 1\n  hash: md5\n  path: {path}\n".encode()


def test_every_version_is_known(tmp_path: Path) -> None:
    root = registry(tmp_path / "r").root
    with Git(root) as git:
        old, new = ({one.path: one.out.oid for one in tracked_at(git, rev)} for rev in ("v1", "v2"))
        assert set(old) == set(new) == {"data", "f.csv", "in/z"}
        assert old["data"] != new["data"]
        assert old["in/z"] == new["in/z"]
        assert {one.out.oid for one in tracked_ever(git)} == {*old.values(), *new.values()}
        assert [one.metafile for one in tracked_at(git, "v1", "in")] == ["in/z.dvc"]
        with pytest.raises(Missing):
            tracked_at(git, "v3")


def test_repositories_in_a_repository_and_working_folders(tmp_path: Path) -> None:
    root = tmp_path / "r"
    repository(root, git=True)
    grow(
        root,
        {
            "a.dvc": metafile(ONE, "a"),
            "sub/.dvc/config": b"",
            "sub/deep/b.dvc": metafile(TWO, "b", wdir="../other"),
            "sub/.dvc/x.dvc": b"",
        },
    )
    (root / "link.dvc").symlink_to("/etc/hostname")
    run_git(root, "add", "-A", "-f")
    run_git(root, "commit", "-qm", "c")
    with Git(root) as git:
        found = {one.path: (one.root, one.metafile) for one in tracked_at(git, "HEAD")}
        assert found == {"a": ("", "a.dvc"), "sub/other/b": ("sub", "sub/deep/b.dvc")}
        assert [one.root for one in tracked_at(git, "HEAD", "sub")] == ["sub"]


def test_outputs_of_pipelines(tmp_path: Path) -> None:
    root = tmp_path / "r"
    repository(root, git=True)
    lock = (
        f"schema: '2.0'\nstages:\n  s:\n    cmd: x\n    outs:\n    - path: m.pkl\n      hash: md5\n      md5: {ONE}\n"
    )
    grow(root, {"p/dvc.yaml": b"stages:\n  s:\n    cmd: x\n    outs:\n    - m.pkl\n", "p/dvc.lock": lock.encode()})
    save(root)
    with Git(root) as git:
        [found] = tracked_at(git, "HEAD")
        assert (found.path, found.out.oid) == ("p/m.pkl", ONE)
        assert [one.out.oid for one in tracked_ever(git)] == [ONE]


def test_a_broken_metafile_is_named_with_its_revision(tmp_path: Path) -> None:
    root = tmp_path / "r"
    repository(root, git=True)
    grow(root, {"a.dvc": metafile(ONE, "a")})
    save(root, "good")
    grow(root, {"a.dvc": b"<<<<<<< ours\n" + metafile(TWO, "a")})
    save(root, "bad")
    with Git(root) as git:
        with pytest.raises(BadInput, match=r"bad:a\.dvc"):
            tracked_at(git, "bad")
        assert [one.out.oid for one in tracked_ever(git)] == [ONE]
