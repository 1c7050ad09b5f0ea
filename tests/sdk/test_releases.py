"""What runs: the version that wins, the commit, the data."""

from __future__ import annotations

import subprocess
from pathlib import Path

from modelkeep.sdk.releases import Releases, data_version
from modelkeep.sdk.settings import Settings, read


def test_the_order_of_versions(tmp_path: Path) -> None:
    bare = Releases(Settings(), "p", tmp_path)
    assert bare.version("3") == "3"
    assert bare.version(None) == "unversioned"
    assert Releases(Settings(model_version="env"), "p", tmp_path).version(None) == "env"
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *command],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    made = Releases(Settings(), "p", tmp_path)
    assert made.version(None) == commit.stdout[:12]
    made.of("m", "3", 5)
    [release] = made.announce()
    assert (release.code, release.dirty, release.at) == (commit.stdout.strip(), False, 5)
    assert release.author == "a <a@b>"


def test_a_release_is_told_once_until_it_may_be_lost(tmp_path: Path) -> None:
    releases = Releases(Settings(config_version="c"), "p", tmp_path)
    first = releases.of("m", "1", 5)
    assert releases.of("m", "1", 9) == first != releases.of("m", "2", 9)
    assert [release.version for release in releases.announce()] == ["1", "2"]
    assert releases.announce() == []
    releases.again_all()
    assert releases.announce()[0].id == first
    assert Releases(Settings(), "other", tmp_path).of("m", "1", 5) != first


def test_data_is_named_by_its_dvc_file(tmp_path: Path) -> None:
    file = tmp_path / "train.dvc"
    file.write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: train\n")
    assert data_version(str(file)) == "0123456789abcdef0123456789abcdef.dir"
    assert data_version(str(tmp_path / "absent.dvc")).endswith("absent.dvc")
    assert data_version("") == ""


def test_settings_read_nonsense_as_absent() -> None:
    assert not read({"MODELKEEP_URL": "ftp://x"}).on
    assert not read({"MODELKEEP_URL": "http://[bad"}).on
    assert not read({"MODELKEEP_URL": "http://x:0"}).on
    assert read({"MODELKEEP_URL": "https://x/prefix/"}).url == "https://x/prefix"
    assert read({"MODELKEEP_SPOOL_BYTES": "1e6"}).spool_bytes == 1_000_000
    assert read({"MODELKEEP_SPOOL_BYTES": "-5"}).spool_bytes == 0
    assert read({"MODELKEEP_EXIT_S": "inf"}).exit_s == 5
    assert read({"XDG_CACHE_HOME": "/c"}).spool == Path("/c/modelkeep/spool")
