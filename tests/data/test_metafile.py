"""`.dvc` files: plain and otherwise, kept as people wrote them, and byte for byte as DVC writes them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Corrupt, Missing
from modelkeep.data.formats import metafile
from modelkeep.data.formats.metafile import LEGACY, Dep, Metafile, Out
from tests.peers import program

HERE = Path("prices.csv.dvc")
OID = "d41d8cd98f00b204e9800998ecf8427e"
PLAIN = f"outs:\n- md5: {OID}\n  size: 3\n  hash: md5\n  path: prices.csv\n".encode()

ODD_PATHS = [
    "a b.csv",
    "a#b",
    "a #b",
    "a: b",
    "-x",
    "- x",
    "123",
    "1.5",
    "true",
    "True",
    "y",
    "no",
    "é.csv",
    "日本.csv",
    "😀.csv",
    "a'b",
    'a"b',
    "a\\b",
    "@x",
    "%x",
    "*x",
    "&x",
    "!x",
    "?x",
    "? x",
    "[x",
    "{x",
    "a]",
    "`x",
    "x ",
    "  x",
    "~",
    "null",
    ".inf",
    ".5",
    "1e5",
    "0x1f",
    "2024-01-01",
    "=",
    "<<",
    "a:b",
    "a:",
    "|x",
    ">x",
    "#x",
    "0o7",
    "1_000",
    "1:30",
    "-",
    "--- x",
    "...",
    "---",
    "a  b",
    "x/./y",
    "../up",
    "/abs/path",
    "s3://bucket/key",
    "e",
    "E5",
    "a",
    "--x",
    "_x",
    "x-",
    "x_y",
    "Ünï cödé",
    "nan",
    ".NaN",
    "on",
    "OFF",
    "N",
    "12e3",
    "0777",
    "+1",
    "a\tb",
    "\ufeff",
    "\u200b",
    "\x7f",
    "a,b",
    "x" * 61,
    "x" * 200,
    "w " * 60 + "end",
    "é" * 90 + " " + "é" * 20,
    "1" * 32,
    "123e4567890123456789012345678901",
    "a\nb",
    "a\u2028b",
    "\x85",
    "x\x85y",
    "# " * 50,
    ": " * 50 + "x",
    "'" * 90 + " x" * 30,
]

counts = st.none() | st.integers(0, 2**62)
paths = st.sampled_from(ODD_PATHS) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=120
)
oids = st.text("0123456789abcdef", min_size=32, max_size=32) | st.text("0123456789e", min_size=32, max_size=32)
words = st.just("") | st.sampled_from(["main", "v1.2", "1.0", "true", "a: b", "it's"])
outs = st.builds(
    Out,
    path=paths,
    oid=st.just("") | oids | oids.map(lambda oid: oid + ".dir"),
    size=counts,
    nfiles=counts,
    executable=st.booleans(),
    hash=st.sampled_from(["md5", LEGACY]),
    cache=st.booleans(),
    push=st.booleans(),
    remote=words,
    persist=st.booleans(),
)
plain_deps = st.builds(Dep, path=paths, oid=st.just("") | oids, etag=words, checksum=words, size=counts, nfiles=counts)
git_deps = st.builds(
    Dep,
    path=paths,
    hash=st.just(LEGACY),
    repo_url=words.filter(bool),
    repo_rev=words,
    repo_rev_lock=oids,
    repo_config=words,
)
metafiles = st.builds(
    Metafile,
    path=st.just(HERE),
    outs=st.lists(outs, max_size=3, unique_by=lambda out: out.path).map(tuple),
    deps=st.lists(plain_deps | git_deps, max_size=2).map(tuple),
    frozen=st.booleans(),
    md5=st.just("") | oids,
    wdir=st.sampled_from([".", "..", "a/b"]),
    desc=st.just("") | words,
)


def test_the_plain_form_needs_no_yaml_library() -> None:
    code = (
        "import sys; from pathlib import Path; from modelkeep.data.formats import metafile\n"
        f"found = metafile.parse({PLAIN!r}, Path('x.dvc')); assert metafile.render(found, {PLAIN!r}) == {PLAIN!r}\n"
        "heavy = ('ruamel.yaml', 'yaml', 'json', 'pathspec', 'logging')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_file_of_dvc_3() -> None:
    found = metafile.parse(PLAIN, HERE)
    assert found.outs == (Out(path="prices.csv", oid=OID, size=3),)
    assert not found.outs[0].is_dir
    assert metafile.render(found) == PLAIN


def test_a_file_of_dvc_2_counts_as_dos2unix() -> None:
    data = PLAIN.replace(b"  hash: md5\n", b"")
    found = metafile.parse(data, HERE)
    assert found.outs[0].legacy
    assert metafile.render(found) == data
    assert metafile.render(replace(found, outs=(replace(found.outs[0], hash="md5"),)), data) == data + b"  hash: md5\n"


def test_an_id_of_digits_alone_is_a_text() -> None:
    digits = "12345678901234567890123456789012"
    assert metafile.parse(PLAIN.replace(OID.encode(), digits.encode()), HERE).outs[0].oid == digits
    out = Out(path="a", oid=digits)
    assert f"md5: '{digits}'".encode() in metafile.render(Metafile(path=HERE, outs=(out,)))


@pytest.mark.parametrize("path", ODD_PATHS)
def test_an_odd_path_is_read_again(path: str) -> None:
    whole = Metafile(path=HERE, outs=(Out(path=path, oid=OID), Out(path=f"b{path}", oid=OID)))
    data = metafile.render(whole)
    assert metafile.parse(data, HERE) == whole
    assert metafile.parse(metafile.render(whole, COMMENTED), HERE).outs == whole.outs
    assert metafile.render(whole, data) == data


@given(metafiles)
def test_what_is_written_is_read_again(whole: Metafile) -> None:
    assert metafile.parse(metafile.render(whole), HERE) == whole


@given(metafiles, metafiles)
def test_an_edit_says_what_is_wanted(before: Metafile, after: Metafile) -> None:
    after = replace(after, desc=after.desc or before.desc)
    assert metafile.parse(metafile.render(after, metafile.render(before)), HERE) == after


@given(metafiles)
def test_an_edit_that_changes_nothing_writes_the_same_bytes(whole: Metafile) -> None:
    data = metafile.render(whole)
    assert metafile.render(whole, data) == data


COMMENTED = f"""# the prices
desc: daily
outs:
- md5: {OID} # of the file
  size: 3

  # where it lies
  path: 'prices.csv'
  desc: inner
  labels:
    - x
  meta: {{team: "pricing", n: 3}}
  remote: far
  push: false
  unknown: [1, 2]
meta:
  who: me
""".encode()


def test_comments_order_and_foreign_fields_stay() -> None:
    found = metafile.parse(COMMENTED, HERE)
    out = found.outs[0]
    assert (out.remote, out.push, found.desc) == ("far", False, "daily")
    edited = metafile.render(replace(found, outs=(replace(out, oid="0" * 32, size=4, hash="md5"),)), COMMENTED).decode()
    assert f"- md5: {'0' * 32}" not in edited  # digits alone stand in quotes
    assert edited == (
        COMMENTED.decode()
        .replace(OID, f"'{'0' * 32}'")
        .replace("size: 3", "size: 4")
        .replace("'prices.csv'", "prices.csv")
        .replace("    - x", "  - x")
        .replace('"pricing"', "pricing")
        .replace("  unknown: [1, 2]\n", "  unknown: [1, 2]\n  hash: md5\n")
    )


def test_one_of_several_outs_changes_alone() -> None:
    data = b"outs:\n- path: a # first\n  cache: false\n- path: b\n  md5: " + OID.encode() + b"\n  hash: md5\n"
    found = metafile.parse(data, HERE)
    assert [out.path for out in found.outs] == ["a", "b"]
    assert metafile.render(replace(found, outs=found.outs[1:]), data) == (
        b"outs:\n- path: b\n  md5: " + OID.encode() + b"\n  hash: md5\n"
    )


def test_a_renamed_out_keeps_its_comments(tmp_path: Path) -> None:
    found = metafile.parse(COMMENTED, HERE)
    moved = replace(found, outs=(replace(found.outs[0], path="new.csv"),))
    assert metafile.write(tmp_path / "new.csv.dvc", moved)
    text = (tmp_path / "new.csv.dvc").read_text()
    assert "# where it lies\n  path: new.csv\n" in text
    assert not metafile.write(tmp_path / "new.csv.dvc", moved), "written twice"


def test_where_a_store_kept_the_old_object_goes_with_it() -> None:
    data = PLAIN + b"  cloud:\n    s3:\n      etag: abc\n"
    found = metafile.parse(data, HERE)
    assert metafile.render(found, data) == data
    changed = replace(found, outs=(replace(found.outs[0], oid="f" * 32),))
    assert b"cloud" not in metafile.render(changed, data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            PLAIN.replace(b"  size: 3\n", b"<<<<<<< HEAD\n  size: 3\n=======\n  size: 4\n>>>>>>> b\n"),
            ":3: merge conflict markers",
        ),
        (PLAIN.replace(b"size: 3", b"size: three"), ":3: outs[0].size: expected a whole number"),
        (PLAIN.replace(b"size: 3", b"size: -3"), ":3: outs[0].size"),
        (PLAIN.replace(OID.encode(), b"../../../etc/passwd"), ":2: outs[0].md5: expected 32 hex digits"),
        (PLAIN.replace(b"hash: md5", b"hash: crc"), ":4: outs[0].hash"),
        (PLAIN.replace(b"  path: prices.csv\n", b""), ":2: outs[0].path"),
        (b"outs: 3\n", ":1: outs: expected a list"),
        (b"outs:\n- a\n", ":2: outs[0]: expected"),
        (b"- outs\n", ":1: not a .dvc file"),
        (b"outs:\n- path: [a\n", ":3: "),
        (b"outs:\n- path: a\n path: b\n", ":3: "),
        (b"a\n\xff", ":2: not UTF-8"),
        (b"outs:\n- path: a\n  cache: 1\n", ":3: outs[0].cache: expected true or false"),
        (b"deps:\n- path: a\n  repo: x\n", ":3: deps[0].repo"),
        (b"&a [*a, *a]", ""),
        (b"outs: " + b"[" * 5000, ""),
    ],
)
def test_what_is_no_metafile_is_refused_with_its_line(data: bytes, says: str) -> None:
    with pytest.raises(BadInput, match=r"^prices\.csv\.dvc") as refused:
        metafile.parse(data, HERE)
    assert says in refused.value.message


def test_a_conflict_says_how_to_go_on() -> None:
    with pytest.raises(BadInput) as refused:
        metafile.parse(b"<<<<<<< HEAD\n" + PLAIN, HERE)
    assert "git checkout --ours -- prices.csv.dvc" in refused.value.hint


def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Missing) as refused:
        metafile.read(tmp_path / "a.csv.dvc")
    assert refused.value.hint.endswith("modelkeep add a.csv")


@given(
    st.binary(max_size=80)
    | st.lists(st.sampled_from([*PLAIN.split(b"\n"), b"- ", b"'", b"&a", b"*a", b"{", b"!!int x", b"? "])).map(
        b"\n".join
    )
)
@example(b"outs:\n- path: a\n  md5: 2001-01-01\n")
@example(b"outs:\n- path: !!binary a\n")
@example(b"%YAML 9.9\n---\n")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        whole = metafile.parse(data, HERE)
    except (BadInput, Corrupt):
        return
    assert metafile.parse(metafile.render(whole), HERE) == whole


IMPORTS = [
    # as `dvc import` and `dvc import-url` wrote them
    """\
md5: c8e9c6e4ed2da199409dd4a3dfb90275
frozen: true
deps:
- path: a.csv
  repo:
    url: ../src
    rev_lock: 47e21dc2b3c0bf1350cdf83cbfb124c5c4be0b0e
outs:
- md5: 60b725f10c9c85c70d97880dfe8191b3
  size: 2
  hash: md5
  path: a.csv
""",
    """\
md5: 8fafbcbfea11dc1bf4d850bb9976664d
frozen: true
deps:
- path: d
  repo:
    url: ../src
    rev: master
    rev_lock: 47e21dc2b3c0bf1350cdf83cbfb124c5c4be0b0e
outs:
- md5: 2bb1ab0d4a051c86389bd68a9371f6ba.dir
  size: 2
  nfiles: 1
  hash: md5
  path: dd
""",
    """\
md5: d1da16b0090c68e9db530e8282411606
frozen: true
deps:
- md5: 2bb1ab0d4a051c86389bd68a9371f6ba.dir
  size: 2
  nfiles: 1
  hash: md5
  path: ../src/d
outs:
- md5: 2bb1ab0d4a051c86389bd68a9371f6ba.dir
  size: 2
  nfiles: 1
  hash: md5
  path: e
""",
    """\
md5: 709256a3b1ef5093aef9ef603d90bb76
frozen: true
deps:
- md5: 60b725f10c9c85c70d97880dfe8191b3
  size: 2
  hash: md5
  path: ../src/a.csv
outs:
- hash: md5
  path: c.csv
""",
]


@pytest.mark.parametrize("text", IMPORTS)
def test_an_import_and_its_md5_are_as_dvc_writes_them(text: str) -> None:
    found = metafile.parse(text.encode(), HERE)
    assert found.frozen
    assert metafile.render(found).decode() == text
    assert metafile.sealed(replace(found, md5="")) == found
    assert metafile.sealed(replace(found, source=b"", md5="0")) == found
    described = metafile.render(found, b"desc: mine\n" + text.encode())
    assert metafile.sealed(metafile.parse(described, HERE)).md5 == found.md5


def test_settings_of_a_foreign_repository_come_back() -> None:
    text = IMPORTS[0].replace(
        "    rev_lock", "    config:\n      cache:\n        dir: x\n    remote: far\n    rev_lock"
    )
    found = metafile.parse(text.encode(), HERE)
    assert json.loads(found.deps[0].repo_config) == {"cache": {"dir": "x"}}
    assert found.deps[0].repo_remote == "far"
    assert metafile.render(found, text.encode()).decode() == text
    assert metafile.parse(metafile.render(found), HERE) == found


def test_what_was_never_kept_has_no_md5() -> None:
    assert metafile.sealed(metafile.parse(PLAIN, HERE)).md5 == ""


DVC_WRITES = """
import json, sys
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update
from dvc.utils.collections import apply_diff
from dvc.utils import dict_md5
from dvc.stage.utils import compute_md5
answers = []
for before, after in json.load(sys.stdin):
    if before is None:
        answers.append(dumps_yaml(after))
    else:
        state = parse_yaml_for_update(before, "x")
        apply_diff(after, state)
        answers.append(dumps_yaml(state))
json.dump(answers, sys.stdout)
"""


def _dvc_writes(pairs: list[tuple[str | None, dict[str, Any]]]) -> list[str]:
    python = program("dvc").with_name("python")
    ran = subprocess.run(
        [python, "-c", DVC_WRITES], input=json.dumps(pairs), capture_output=True, text=True, check=True
    )
    answers: list[str] = json.loads(ran.stdout)
    return answers


@pytest.mark.needs("dvc")
def test_odd_paths_are_written_as_dvc_writes_them() -> None:
    whole = [Metafile(path=HERE, outs=(Out(path=path, oid=OID, size=3),)) for path in ODD_PATHS]
    theirs = _dvc_writes([(None, metafile.document(one)) for one in whole])
    for one, text in zip(whole, theirs, strict=True):
        ours = metafile.render(one).decode()
        if metafile.document_of(text.encode(), HERE) == metafile.document(one):  # DVC reads what it wrote
            assert ours == text, one.outs[0].path


@pytest.mark.needs("dvc")
def test_edits_are_written_as_dvc_writes_them() -> None:
    def out(text: bytes, **changes: Any) -> tuple[bytes, Metafile]:
        found = metafile.parse(text, HERE)
        return text, replace(found, outs=(replace(found.outs[0], **changes), *found.outs[1:]))

    known = COMMENTED.replace(b"  unknown: [1, 2]\n", b"")
    cases = [
        out(PLAIN, oid="f" * 32, size=9),
        out(PLAIN, executable=True),
        out(PLAIN, oid="f" * 32 + ".dir", nfiles=3),
        out(PLAIN.replace(b"  hash: md5\n", b""), hash="md5"),
        out(known, oid="a" * 32, size=10, hash="md5"),
        out(known, oid="a" * 32 + ".dir", nfiles=2, hash="md5"),
        out(known, executable=True),
        out(b"# c\n" + PLAIN + b"# end\n", oid="b" * 32),
        out(PLAIN.replace(b"\n", b"\n  ").replace(b"path: prices.csv\n  ", b"path: prices.csv\n"), oid="b" * 32),
        out(b"outs: [{md5: " + OID.encode() + b", size: 3, hash: md5, path: prices.csv}]\n", oid="b" * 32),
        out(PLAIN.replace(b"\n", b"\r\n"), oid="b" * 32),
    ]
    pairs: list[tuple[str | None, dict[str, Any]]] = []
    for before, after in cases:
        state = metafile.document_of(before, HERE)
        fields: dict[str, Any] = {key: value for key, value in state.items() if key == "meta"}
        kept = {key: state["outs"][0][key] for key in ("desc", "labels", "meta") if key in state["outs"][0]}  # type: ignore[index,call-overload]
        wanted: dict[str, Any] = {**metafile.document(after), **fields}
        wanted["outs"] = [{**wanted["outs"][0], **kept}]
        pairs.append((before.decode(), wanted))
    for (before, after), text in zip(cases, _dvc_writes(pairs), strict=True):
        assert metafile.render(after, before).decode() == text
