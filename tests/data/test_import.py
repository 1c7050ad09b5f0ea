"""`import` writes what DVC writes, and the data can be had again from where it came."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelkeep.core.errors import BadInput, Conflict, Corrupt, Missing
from modelkeep.data.formats import metafile
from modelkeep.data.repository import Repository
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.import_ import import_
from modelkeep.data.verbs.pull import pull
from modelkeep.data.verbs.push import push
from modelkeep.data.verbs.status import status
from tests.data.registries import FIRST, PLAIN, forget, registry, save
from tests.data.workspaces import again, grow, held, repository, run_dvc, run_git


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def source(tmp_path: Path) -> Repository:
    return registry(tmp_path / "src")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = repository(tmp_path / "here", git=True)
    monkeypatch.chdir(made.root)
    return made


def test_files_folders_and_parts(source: Repository, repo: Repository) -> None:
    url = str(source.root)
    done = import_(repo, url, "data", rev="v1")
    commit = run_git(source.root, "rev-parse", "v1").strip()
    assert (done.commit, done.nfiles, done.metafile) == (commit, 4, "data.dvc")
    assert Path("data/a").read_bytes() == b"a\n"
    text = Path("data.dvc").read_text(encoding="utf-8")
    assert " ".join(f"frozen: true deps: - path: data repo: url: {url} rev: v1 rev_lock: {commit}".split()) in " ".join(
        text.split()  # a long address may stand on a line of its own
    )
    assert metafile.read(repo.root / "data.dvc").outs[0].oid == done.oid
    assert Path(".gitignore").read_text(encoding="utf-8").endswith("/data\n")
    import_(repo, url, "data/deep", rev="v1", out="parts/deep")
    assert held(Path("parts/deep")) == {"x/c": b"c\n"}
    import_(repo, "../src", "code/m.py", out="parts/")
    assert Path("parts/m.py").read_bytes() == PLAIN["code/m.py"]
    assert status(again(repo)).clean


def test_a_push_leaves_it_out_and_a_pull_fetches_it_there(source: Repository, repo: Repository, tmp_path: Path) -> None:
    grow(
        repo.root, {".dvc/config": f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path / 'own'}\n".encode()}
    )
    import_(repo, str(source.root), "data", rev="v1")
    import_(repo, str(source.root), "code")
    grow(repo.root, {"mine": b"mine"})
    add(again(repo), ["mine"])
    push(again(repo))
    assert len([path for path in (tmp_path / "own").rglob("*") if path.is_file()]) == 1
    forget(repo)
    grow(source.root, {"f.csv": b"later\n"})
    add(source, [source.root / "f.csv"])
    save(source.root, "v3")
    pull(again(repo))
    assert Path("data/sub/b").read_bytes() == FIRST["data/sub/b"]
    assert held(Path("code")) == {"m.py": PLAIN["code/m.py"], "deep/n.py": b""}


def test_what_is_there_is_kept_unless_forced(source: Repository, repo: Repository) -> None:
    url = str(source.root)
    grow(repo.root, {"f.csv": b"mine"})
    with pytest.raises(Conflict, match="is there already"):
        import_(repo, url, "f.csv", rev="v1")
    assert Path("f.csv").read_bytes() == b"mine"
    import_(repo, url, "f.csv", rev="v1", force=True)
    with pytest.raises(Conflict):
        import_(again(repo), url, "f.csv")
    metafile_now = Path("f.csv.dvc")
    metafile_now.write_text("# kept\n" + metafile_now.read_text(encoding="utf-8"), encoding="utf-8")
    import_(again(repo), url, "f.csv", force=True)
    assert Path("f.csv").read_bytes().startswith(b"x,y,w")
    assert metafile_now.read_text(encoding="utf-8").startswith("# kept\n")
    import_(again(repo), url, "f.csv", rev="v1", force=True)
    lines = metafile_now.read_text(encoding="utf-8").splitlines()
    assert lines.index("    rev: v1") == len(lines) - 6  # behind rev_lock, as DVC puts a key that comes later
    with pytest.raises(Conflict, match="overlaps"):
        import_(again(repo), url, "in", out="f.csv/in")


def test_without_the_data(source: Repository, repo: Repository) -> None:
    import_(repo, str(source.root), "data", no_download=True)
    assert metafile.read(repo.root / "data.dvc").outs[0].oid == ""
    assert not Path("data").exists()
    with pytest.raises(Missing):
        import_(repo, str(source.root), "nope", no_download=True)
    import_(again(repo), str(source.root), "data", force=True)
    assert Path("data/new").read_bytes() == b"n\n"


def test_only_commits_are_imported(source: Repository, repo: Repository, tmp_path: Path) -> None:
    grow(source.root, {"f.csv": b"dirty\n", "untracked": b"1"})
    import_(repo, str(source.root), "f.csv")
    assert Path("f.csv").read_bytes().startswith(b"x,y,w")
    with pytest.raises(Missing):
        import_(repo, str(source.root), "untracked")
    plain = repository(tmp_path / "plain")
    with pytest.raises(Missing, match="not a git repository"):
        import_(repo, str(plain.root), "x")
    with pytest.raises(BadInput, match="password"):
        import_(repo, "https://me:pw@host.example/x.git", "x")


def test_a_rewritten_source_is_noticed(source: Repository, repo: Repository) -> None:
    import_(repo, str(source.root), "f.csv", rev="v1")
    forget(repo)
    file = repo.root / "f.csv.dvc"
    one, two = (run_git(source.root, "rev-parse", rev).strip() for rev in ("v1", "v2"))
    file.write_text(file.read_text(encoding="utf-8").replace(one, two), encoding="utf-8")
    with pytest.raises(Corrupt, match=r"is \w+ now, not"):
        pull(again(repo))


@pytest.mark.needs("dvc")
@pytest.mark.parametrize(
    "asked",
    [
        [("data", "-o", "d", "--rev", "v1"), ("in/z", "--rev", "v1", "--no-download")],
        pytest.param([("../src", "data/deep", "-o", "deep"), ("code", "-o", "c")], marks=pytest.mark.slow),
    ],
    ids=["tracked", "parts"],
)
def test_byte_for_byte_what_dvc_writes(
    source: Repository, repo: Repository, tmp_path: Path, asked: list[tuple[str, ...]]
) -> None:
    theirs = repository(tmp_path / "theirs", git=True)
    for words in asked:
        url, *rest = words if words[0].startswith("..") else (str(source.root), *words)
        run_dvc(theirs, "import", url, *rest)
        options = dict(zip(rest[1::2], rest[2::2], strict=False))
        import_(
            again(repo),
            url,
            rest[0],
            out=options.get("-o", ""),
            rev=options.get("--rev", ""),
            no_download=len(rest) == 4,
        )
    written = [".gitignore", *(path.name for path in theirs.root.glob("*.dvc") if path.is_file())]
    assert len(written) == 3
    for name in written:
        assert (repo.root / name).read_bytes() == (theirs.root / name).read_bytes(), name
    run_dvc(repo, "status")
