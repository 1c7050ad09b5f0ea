"""Settings: read and written as DVC does, edited without touching the rest, secrets never shown."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Conflict, Missing
from modelkeep.data.formats.config import SECRETS, Config, masked, masked_url
from modelkeep.data.formats.ini import Ini
from tests.peers import program

SECRET = "s3cr3t-value"
FULL = """\
# all of us
[core]
    remote = disk  # the near one
    autostage = true

# far away
['remote "S3"']
    url = s3://bucket/path
    region = eu-west-1
    Grant_Read = "a, b"

['remote "disk"']
    url = ../../store
[cache]
    type = "hardlink,symlink"
    dir = ../cache
    shared = group
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repo" / ".dvc").mkdir(parents=True)
    (tmp_path / "repo" / ".dvc" / "config").touch()
    return tmp_path / "repo"


def _load(root: Path) -> Config:
    beside = root.parent
    return Config.load(
        root, environment={"DVC_GLOBAL_CONFIG_DIR": str(beside / "g"), "DVC_SYSTEM_CONFIG_DIR": str(beside / "s")}
    )


def _with(root: Path, text: str, name: str = "config") -> Config:
    (root / ".dvc" / name).write_text(text)
    return _load(root)


def test_nothing_is_set(root: Path) -> None:
    config = _load(root)
    assert config.remotes() == {}
    assert config.cache_folder == root / ".dvc" / "cache"
    assert config.link_types == ("reflink", "copy")
    assert not config.shared
    assert not config.autostage
    assert config.warnings() == []
    with pytest.raises(Missing, match="no default remote") as missing:
        config.remote()
    assert missing.value.hint == "modelkeep remote add -d NAME URL"


def test_a_full_file(root: Path) -> None:
    config = _with(root, FULL)
    assert config.get("core", "remote") == "disk"
    assert config.autostage
    assert config.link_types == ("hardlink", "symlink")
    assert config.shared
    assert config.cache_folder == root / "cache"
    assert list(config.remotes()) == ["s3", "disk"]
    assert config.remote().url == str(root.parent / "store")
    s3 = config.remote("S3")
    assert (s3.url, s3.options["region"], s3.options["grant_read"]) == ("s3://bucket/path", "eu-west-1", "a, b")


def test_levels_hide_each_other(root: Path) -> None:
    for folder in ("s", "g"):
        (root.parent / folder).mkdir()
        (root.parent / folder / "config").write_text(
            f"[core]\nremote = {folder}\n['remote \"{folder}\"']\nurl = {folder}x\n"
        )
    assert _load(root).remote().url == str(root.parent / "g" / "gx")
    config = _with(root, "['remote \"g\"']\nprofile = p\nurl = here\n")
    assert config.remote().options == {"profile": "p"}
    assert config.remote().url == str(root / ".dvc" / "here")
    assert _with(root, "[core]\nremote = s\n", "config.local").remote().name == "s"
    assert list(config.remotes("system")) == ["s"]


def test_options_of_a_remote_without_url_harm_no_other(root: Path) -> None:
    _with(root, "['remote \"a\"']\nurl = s3://a\n")
    config = _with(root, "['remote \"gone\"']\npassword = x\n", "config.local")
    assert list(config.remotes()) == ["a"]
    with pytest.raises(Missing, match="no remote 'gone'; there are: a"):
        config.remote("gone")


def test_a_remote_on_top_of_another(root: Path) -> None:
    config = _with(
        root,
        "['remote \"base\"']\nurl = ssh://h/data/\nuser = me\nport = 22\n"
        "['remote \"top\"']\nurl = remote://base/images\nport = 23\n",
    )
    top = config.remote("top")
    assert (top.url, dict(top.options)) == ("ssh://h/data/images", {"user": "me", "port": "23"})
    circle = _with(root, "['remote \"a\"']\nurl = remote://b/x\n['remote \"b\"']\nurl = remote://a/x\n")
    with pytest.raises(BadInput, match="name each other"):
        circle.remote("a")


def test_a_secret_that_git_would_publish_is_told_without_its_value(root: Path) -> None:
    config = _with(
        root,
        f"['remote \"s3\"']\n    url = s3://b\n    secret_access_key = {SECRET}\n"
        f'[\'remote "web"\']\n    url = https://me:{SECRET}@host/x\n    password = ""\n',
    )
    found = config.warnings()
    assert found[0].startswith("repo/.dvc/config:3: secret_access_key: a secret in a file that git publishes")
    assert "modelkeep remote modify --local s3 secret_access_key" in found[0]
    assert "config:5: url" in found[1]
    assert len(found) == 2
    assert SECRET not in "".join(found) + repr(config) + repr(config.remotes())
    (root / ".dvc" / "config").write_text("")
    assert _with(root, f"['remote \"s3\"']\nurl = s3://b\ntoken = {SECRET}\n", "config.local").warnings() == []


@pytest.mark.parametrize("option", sorted(SECRETS))
def test_secrets_are_masked(option: str) -> None:
    assert masked(option, SECRET) == "********"
    assert masked(option.upper(), SECRET) == "********"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/x", "s3://bucket/x"),
        ("/data/a@b", "/data/a@b"),
        ("ssh://me@host/x", "ssh://me@host/x"),
        ("ssh://me:pw@host/x", "ssh://********@host/x"),
        ("https://token@host/x", "https://********@host/x"),
        ("https://h/x?sv=1&sig=a%2Fb&se=2", "https://h/x?sv=1&sig=********&se=2"),
        (
            "https://h/x?X-Amz-Signature=abc&X-Amz-Credential=d",
            "https://h/x?X-Amz-Signature=********&X-Amz-Credential=********",
        ),
        ("webdavs://u:p:q@h", "webdavs://********@h"),
        ("https://me:p@ss@host/x", "https://********@host/x"),
        ("https://me:p/ss@host/x", "https://********@host/x"),
    ],
)
def test_urls_are_masked(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_edits_leave_every_other_line(root: Path) -> None:
    config = _with(root, FULL)
    config.set("repo", "core", "autostage", "false")
    config.set("project", "core", "remote", "s3")
    config.modify("disk", "jobs", "4")
    config.modify("s3", "region", "eu, us")
    assert config.unset("repo", "cache", "type")
    assert not config.unset("repo", "cache", "type")
    assert (root / ".dvc" / "config").read_text() == (
        FULL.replace("autostage = true", "autostage = false")
        .replace("remote = disk  #", "remote = s3  #")
        .replace("url = ../../store\n", "url = ../../store\n    jobs = 4\n")
        .replace("region = eu-west-1", 'region = "eu, us"')
        .replace('    type = "hardlink,symlink"\n', "")
    )
    assert config.get("core", "remote") == "s3", "read again after the edit"


def test_adding_removing_and_renaming(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    config = _load(root)
    config.add_remote("Disk", "../store", default=True)
    file = root / ".dvc" / "config"
    assert file.read_text() == "[core]\n    remote = disk\n['remote \"disk\"']\n    url = ../../store\n"
    with pytest.raises(Conflict, match="'disk' is there already"):
        config.add_remote("disk", "elsewhere")
    config.modify("disk", "jobs", "3")
    config.add_remote("disk", "s3://b", force=True)
    assert config.remote("disk").options == {}
    config.rename("disk", "far")
    assert file.read_text() == "[core]\n    remote = far\n['remote \"far\"']\n    url = s3://b\n"
    config.add_remote("other", "/abs")
    with pytest.raises(Conflict):
        config.rename("other", "far")
    config.default(None)
    assert file.read_text() == "['remote \"far\"']\n    url = s3://b\n['remote \"other\"']\n    url = /abs\n"
    config.default("other")
    config.remove("other")
    config.remove("far")
    assert file.read_text() == "\n"
    for change in (lambda: config.remove("far"), lambda: config.modify("far", "a", "b"), lambda: config.default("far")):
        with pytest.raises(Missing, match="no remote 'far'"):
            change()


def test_a_local_secret_is_readable_by_its_owner_alone(root: Path) -> None:
    config = _with(root, "['remote \"s3\"']\nurl = s3://b\n")
    config.modify("s3", "secret_access_key", SECRET, level="local")
    assert (root / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
    assert config.remote("s3").options["secret_access_key"] == SECRET
    with pytest.raises(Missing, match="on the level local") as missing:
        config.remove("nope", level="local")
    assert SECRET not in str(missing.value)


def test_a_hint_names_the_level_that_has_the_remote(root: Path) -> None:
    config = _with(root, "['remote \"s3\"']\nurl = s3://b\n")
    with pytest.raises(Missing) as missing:
        config.remove("s3", level="global")
    assert missing.value.hint == "It is on the level repo: add --project."


@pytest.mark.parametrize("name", ["", 'a"b', "a]b", "a\nb", " a", "a#b"])
def test_a_name_that_cannot_be_written_is_refused(root: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be a remote's name"):
        _load(root).add_remote(name, "/x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[core\n", "config:1: neither a section nor a setting"),
        ("[core]\nremote\n", "config:2: neither"),
        ("[core]\n[core]\n", "config:2: the section 'core' is there twice"),
        ("[core]\nA = 1\na = 2\n", "config:3: 'a' is there twice"),
        ('[core]\na = "b\n', "config:2: a quoted value without its end"),
        ('[core]\na = "b" c\n', "config:2: text behind a quoted value"),
        ('[core]\na = """b\nc\n', "config:2: a quoted value without its end"),
        ("[core]\n<<<<<<< HEAD\n", "config:2: merge conflict markers"),
        ("[[core]]\n", "config:1: brackets that do not match"),
    ],
)
def test_what_is_no_settings_file_is_refused_with_its_line(root: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        _with(root, text).get("core", "remote")
    assert says in refused.value.message


def test_wrong_values_name_their_line(root: Path) -> None:
    with pytest.raises(BadInput, match=r"config:2: core\.autostage: expected true or false"):
        _ = _with(root, "[core]\nautostage = perhaps\n").autostage
    with pytest.raises(BadInput, match=r"config:2: cache\.type: 'junction'"):
        _ = _with(root, "[cache]\ntype = junction\n").link_types


def test_a_value_stands_as_it_is_written(root: Path) -> None:
    config = _with(root, "['remote \"a\"']\nurl = s3://a\npassword = 100%(x)s$HOME\n")
    assert config.remote("a").options["password"] == "100%(x)s$HOME"
    config.modify("a", "user", "")
    assert config.remote("a").options["user"] == ""
    assert "    user" not in (root / ".dvc" / "config").read_text()


def test_settings_at_a_revision(root: Path) -> None:
    _with(root, "[core]\nremote = local\n", "config.local")
    config = Config.of(root, b"[core]\nremote = a\n['remote \"a\"']\nurl = ../x\n", environment={"HOME": str(root)})
    assert config.remote().url == str(root / "x")
    assert Config.of(root, b"", environment={"HOME": str(root)}).remotes() == {}


values = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]) | st.sampled_from("\"'#, \t\n[]="), max_size=12
)


def _writable(value: str) -> bool:
    return not ("'''" in value and '"""' in value) and not value.endswith(("'", '"')) and value == value.strip()


@given(st.dictionaries(st.sampled_from(["url", "user", "a_b", "password"]), values.filter(_writable), max_size=4))
def test_what_is_set_is_read_again(found: dict[str, str]) -> None:
    ini = Ini("# top\n[core]\n  x = 1\n", "config")
    for key, value in found.items():
        ini.set('remote "r"', key, value)
    read = Ini(ini.text(), "config").sections
    assert {key: entry.value for key, entry in read['remote "r"'].entries.items()} == found if found else True
    for key in found:
        assert ini.unset('remote "r"', key)
    assert ini.text() == "# top\n[core]\n  x = 1\n"


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from(["[a]", "[[b]]", "k = v", 'k = """x', "'", "a, b", "=", "# c", "k=,"]))
    .map("\n".join)
    .map(str.encode)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    config = Config.of(Path("/nowhere"), data, environment={"HOME": "/nowhere"})
    with contextlib.suppress(BadInput):
        config.remotes()
        config.get("a", "k")


DVC_READS = """
import io, json, sys
from dvc.config import Config, _parse_named, _lower_keys
from configobj import ConfigObj, ConfigObjError
answers = []
for text in json.load(sys.stdin):
    try:
        answers.append(_lower_keys(ConfigObj(io.StringIO(text), interpolation=False).dict()))
    except ConfigObjError:
        answers.append(None)
json.dump(answers, sys.stdout)
"""


def _dvc(code: str, given_: object, folder: Path) -> Any:
    nowhere = dict.fromkeys(("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"), str(folder / "none"))
    ran = subprocess.run(
        [program("dvc").with_name("python"), "-c", code],
        input=json.dumps(given_),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, **nowhere},
    )
    return json.loads(ran.stdout)


pieces = st.sampled_from(
    [
        "[core]",
        "['remote \"a\"']",
        "  [ cache ]  # c",
        "remote = a",
        "  url = b c  # d",
        "x = a, b",
        "y = 'a, b'",
        'z = "#1"',
        "w = a,",
        "v = ,",
        "u =",
        'key with space = "q"',
        "'quoted key' = 1",
        '"a" = "b" # c',
        't = """one"""',
        "s = '''a",
        "b'''",
        "# comment",
        "",
        "p = %(x)s",
        "e = a=b",
        "n = a # b, c",
        "l = 'a', \"b\" , c",
        "m = it's",
    ]
)


@pytest.mark.needs("dvc")
def test_files_mean_what_dvc_takes_them_for(tmp_path: Path) -> None:
    texts: list[str] = [FULL]

    @given(st.lists(pieces, max_size=7).map("\n".join))
    @settings(max_examples=400, database=None)
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    for text, theirs in zip(texts, _dvc(DVC_READS, texts, tmp_path), strict=True):
        try:
            sections = Ini(text, "config").sections
        except BadInput:
            assert theirs is None, text
            continue
        assert theirs is not None, text
        ours = {title: {key: entry.value for key, entry in one.entries.items()} for title, one in sections.items()}
        assert ours == {title: found for title, found in theirs.items() if isinstance(found, dict)}, text


DVC_EDITS = """
import contextlib, json, os, sys
from configobj import ConfigObjError
from dvc.config import Config
answers = []
for at, steps in enumerate(json.load(sys.stdin)):
    folder = f"dvc{at}/.dvc"
    os.makedirs(folder)
    open(folder + "/config", "w").close()
    config = Config(folder, validate=False)
    os.chdir(f"dvc{at}")
    for verb, *rest in steps:
        with contextlib.suppress(ConfigObjError), config.edit("repo", validate=False) as conf:
            if verb == "add":
                conf["remote"][rest[0]] = {"url": rest[1]}
            elif verb == "modify":
                conf["remote"][rest[0]][rest[1]] = rest[2]
            elif verb == "remove":
                del conf["remote"][rest[0]]
            elif verb == "set":
                conf.setdefault(rest[0], {})[rest[1]] = rest[2]
            elif verb == "rename":
                conf["remote"][rest[1]] = conf["remote"].pop(rest[0])
    os.chdir("..")
    answers.append(open(folder + "/config").read())
json.dump(answers, sys.stdout)
"""
texts = st.sampled_from(
    [
        "plain",
        "a b",
        "a,b",
        'say "x"',
        "it's",
        "#1",
        " lead",
        "tail ",
        "a\"b'c",
        "x=y",
        "[z]",
        "../up",
        "/abs",
        "~/home",
        "s3://b/k",
    ]
)
edits = st.lists(
    st.tuples(st.just("add"), st.sampled_from("abc"), texts.filter(bool))
    | st.tuples(st.just("modify"), st.sampled_from("abc"), st.sampled_from(["user", "keyfile", "jobs"]), texts)
    | st.tuples(st.just("set"), st.sampled_from(["core", "cache"]), st.sampled_from(["remote", "type", "dir"]), texts)
    | st.tuples(st.just("remove"), st.sampled_from("abc"))
    | st.tuples(st.just("rename"), st.sampled_from("abc"), st.sampled_from("de")),
    max_size=6,
)


@pytest.mark.needs("dvc")
def test_edits_give_the_bytes_that_dvc_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[list[tuple[str, ...]]] = []

    @given(edits)
    @settings(max_examples=120, database=None)
    def collect(steps: list[tuple[str, ...]]) -> None:
        there: set[str] = set()
        kept: list[tuple[str, ...]] = []
        for verb, *rest in steps:
            if verb in {"modify", "remove", "rename"} and rest[0] not in there:
                continue
            if (verb == "rename" and rest[1] in there) or (verb == "add" and rest[0] in there):
                continue
            if verb in {"remove", "rename"}:
                there.remove(rest[0])
            if verb in {"add", "rename"}:
                there.add(rest[verb == "rename"])
            kept.append((verb, *rest))
        runs.append(kept)

    collect()
    theirs = _dvc(DVC_EDITS, runs, tmp_path)
    for at, steps in enumerate(runs):
        root = tmp_path / f"ours{at}"
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc" / "config").touch()
        monkeypatch.chdir(root)
        config = _load(root)
        verbs = {
            "add": config.add_remote,
            "modify": config.modify,
            "remove": config.remove,
            "rename": config.rename,
            "set": lambda section, key, value, config=config: config.set("repo", section, key, value),
        }
        for verb, *rest in steps:
            verbs[verb](*rest)
        ours = (root / ".dvc" / "config").read_text()
        assert ours.strip() == theirs[at].strip(), steps
