"""What data verbs and git do not see: as DVC and git themselves say."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput
from modelkeep.data.formats.ignore import Ignore, git_ignore, git_unignore
from tests.peers import program


def _files(root: Path, files: dict[str, str]) -> Ignore:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Ignore.load(root)


def test_nothing_is_said(tmp_path: Path) -> None:
    ignore = _files(tmp_path, {".dvcignore": "# Add patterns of files dvc should ignore\n\n"})
    assert ignore.plain
    assert ignore.plain_below("a/b")
    assert not ignore.ignores("a/b.csv", False)


def test_what_is_built_in(tmp_path: Path) -> None:
    ignore = Ignore.load(tmp_path)
    for path in (".git", ".dvc", ".hg", "a/.git", "a/.dvc"):
        assert ignore.ignores(path, True)
    assert ignore.ignores(".dvc/config", False)
    assert ignore.ignores("a/.git", False)
    assert not ignore.ignores(".dvcignore", False)
    assert not ignore.ignores("a/.gitignore", False)


def test_patterns(tmp_path: Path) -> None:
    ignore = _files(
        tmp_path,
        {
            ".dvcignore": "*.tmp\n!keep.tmp\nlogs/\n/top\n  spaced  \na/**/deep\n",
            "sub/.dvcignore": "!other.tmp\n/only\nlocal\n",
            "sub/under/.dvcignore": "*.x\n",
        },
    )
    assert not ignore.plain
    assert ignore.ignores("a.tmp", False)
    assert not ignore.ignores("keep.tmp", False)
    assert ignore.ignores("logs", True)
    assert ignore.ignores("logs/x/y", False)
    assert not ignore.ignores("logs", False)
    assert ignore.ignores("top", False)
    assert not ignore.ignores("b/top", False)
    assert ignore.ignores("spaced", False)
    assert ignore.ignores("a/b/c/deep", False)
    assert ignore.ignores("sub/a.tmp", False)
    assert not ignore.ignores("sub/other.tmp", False)
    assert ignore.ignores("other.tmp", False)
    assert ignore.ignores("sub/only", False)
    assert not ignore.ignores("sub/under/only", False)
    assert ignore.ignores("sub/under/local", False)
    assert ignore.ignores("sub/under/a.x", False)
    assert not ignore.ignores("sub/a.x", False)


def test_a_file_in_an_ignored_folder_says_nothing(tmp_path: Path) -> None:
    ignore = _files(tmp_path, {".dvcignore": "out/\n", "out/.dvcignore": "!*\n"})
    assert ignore.ignores("out/a", False)
    assert ignore.plain_below("b") is False


def test_what_means_nothing_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.dvcignore:2: '!' is no pattern"):
        assert _files(tmp_path, {".dvcignore": "a\n!\n"}).plain
    (tmp_path / ".dvcignore").write_bytes(b"a\n\xff\n")
    with pytest.raises(BadInput, match=r"\.dvcignore:2: not UTF-8"):
        assert Ignore.load(tmp_path).plain


names = st.sampled_from(["a", "b", "ab", "a.x", "b.x", "x y", "#h", "!n", "[z]", "d"])
MANY = 150
rules = st.one_of(
    st.sampled_from(
        [
            "a",
            "*.x",
            "/a",
            "b/",
            "!a",
            "!*.x",
            "d/*",
            "d/**",
            "**/a",
            "a/**/b",
            "/d/b/",
            "!d/b/",
            "a*",
            "?",
            "[ab]",
            "*",
            "!*/",
        ]
    ),
    st.sampled_from(
        [
            "\\#h",
            "\\!n",
            "x y",
            "x\\ y",
            "# c",
            "",
            "  a",
            "a  ",
            "a\\ ",
            "!/d",
            "\\[z\\]",
            "[z]",
            "**",
            "a/",
            "!b/",
            "/",
            "./a",
        ]
    ),
    st.lists(names, min_size=1, max_size=2).map("/".join),
)
trees = st.tuples(
    st.dictionaries(st.sampled_from(["", "d", "d/b", "a"]), st.lists(rules, max_size=4).map("\n".join), max_size=3),
    st.lists(st.tuples(st.lists(names, min_size=1, max_size=3).map("/".join), st.booleans()), min_size=1, max_size=12),
)

DVC_IGNORES = """
import json, os, sys
from dvc.fs import localfs
from dvc.ignore import DvcIgnoreFilter
answers = []
for number, asked in enumerate(json.load(sys.stdin)):
    root = os.path.abspath(str(number))
    try:
        known = DvcIgnoreFilter(localfs, root)
        ask = [known.is_ignored_file, known.is_ignored_dir]
        answers.append([
            bool(ask[is_dir](os.path.join(root, path), ignore_subrepos=False)) for path, is_dir in asked
        ])
    except Exception as error:
        answers.append(type(error).__name__)
json.dump(answers, sys.stdout)
"""


@pytest.mark.needs("dvc")
def test_it_says_what_dvc_says(tmp_path: Path) -> None:
    asked: list[list[tuple[str, bool]]] = []

    @given(trees)
    @settings(max_examples=MANY, database=None)
    def collect(tree: tuple[dict[str, str], list[tuple[str, bool]]]) -> None:
        files, paths = tree
        root = tmp_path / str(len(asked))
        root.mkdir()
        for folder, text in files.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / ".dvcignore").write_text(text)
        asked.append(paths)

    collect()
    ran = subprocess.run(
        [program("dvc").with_name("python"), "-c", DVC_IGNORES],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    judged = json.loads(ran.stdout)
    assert any(isinstance(theirs, list) and len(set(theirs)) == 2 for theirs in judged)
    for number, theirs in enumerate(judged):
        ignore = Ignore.load(tmp_path / str(number))
        said = {
            path.relative_to(tmp_path).as_posix(): path.read_text()
            for path in (tmp_path / str(number)).rglob(".dvcignore")
        }
        try:
            ours: object = [ignore.ignores(path, is_dir) for path, is_dir in asked[number]]
        except BadInput:
            assert isinstance(theirs, str), said
            continue
        assert ours == theirs, (said, asked[number])


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "work"
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def _git_sees(root: Path, path: str) -> bool:
    return subprocess.run(["git", "-C", str(root), "check-ignore", "-q", "--", path], check=False).returncode != 0


ODD = [
    "a.csv",
    "a b",
    "[x]",
    "a*b?",
    "!bang",
    "#hash",
    "back\\slash",
    "é",
    "tail ",
    "two  ",
    "-dash",
    "{a,b}",
    "~home",
    "$x",
]


@pytest.mark.parametrize("name", ODD)
def test_git_does_not_see_what_is_told(work: Path, name: str) -> None:
    for place in (work / name, work / "sub" / name):
        place.parent.mkdir(exist_ok=True)
        place.touch()
        assert git_ignore(place) == place.parent / ".gitignore"
        assert not _git_sees(work, place.relative_to(work).as_posix())
        assert git_ignore(place) is None, "told already"
        assert _git_sees(work, "sub/else")
        assert git_unignore(place) == place.parent / ".gitignore"
        assert not (place.parent / ".gitignore").exists()
        assert git_unignore(place) is None


def test_a_missing_line_end_is_mended(work: Path) -> None:
    (work / ".gitignore").write_text("*.log")
    (work / "a").touch()
    assert git_ignore(work / "a") is not None
    assert (work / ".gitignore").read_text() == "*.log\n/a\n"
    assert git_unignore(work / "a") is not None
    assert (work / ".gitignore").read_text() == "*.log\n"


def test_what_git_does_not_see_anyway_is_not_told(work: Path, tmp_path: Path) -> None:
    (work / ".gitignore").write_text("*.csv\n!b.csv\n/data/\n")
    (work / "data").mkdir()
    for name in ("a.csv", "b.csv", "data/x"):
        (work / name).touch()
    assert git_ignore(work / "a.csv") is None
    assert git_ignore(work / "data" / "x") is None
    assert git_ignore(work / "b.csv") == work / ".gitignore"
    (work / ".git" / "info").mkdir(exist_ok=True)
    (work / ".git" / "info" / "exclude").write_text("own\n")
    (work / "own").touch()
    assert git_ignore(work / "own") is None
    (tmp_path / "home" / "git").mkdir(parents=True)
    (tmp_path / "home" / "git" / "ignore").write_text("*.bak\n")
    (work / "x.bak").touch()
    assert git_ignore(work / "x.bak") is None


def test_without_git_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert git_ignore(tmp_path / "a") is None
    assert not (tmp_path / ".gitignore").exists()


def test_lines_of_old_names_go_too(work: Path) -> None:
    (work / ".gitignore").write_bytes(b"/a[1]\r\n/b\r\n")
    assert git_unignore(work / "a[1]") == work / ".gitignore"
    assert (work / ".gitignore").read_bytes() == b"/b\r\n"


def test_a_name_over_two_lines_is_refused(work: Path) -> None:
    (work / "a\nb").touch()
    with pytest.raises(BadInput, match="line break"):
        git_ignore(work / "a\nb")


@pytest.mark.needs("dvc")
def test_git_is_told_as_dvc_tells_it(work: Path) -> None:
    told = [name for name in ODD if not name.endswith(" ")]
    code = (
        "import json, sys, os; from scmrepo.git import Git; git = Git('.')\n"
        "for name in json.load(sys.stdin): git.ignore(os.path.abspath(name))\n"
        "git.close()"
    )
    for start in ("", "x", "x\n", "# c\n\n*.log\n"):
        for name in told:
            (work / name).touch()
        (work / ".gitignore").write_text(start)
        for name in told:
            git_ignore(work / name)
        ours = (work / ".gitignore").read_bytes()
        (work / ".gitignore").write_text(start)
        python = program("dvc").with_name("python")
        subprocess.run([python, "-c", code], input=json.dumps(told), text=True, check=True, cwd=work, env=os.environ)
        assert (work / ".gitignore").read_bytes() == ours
