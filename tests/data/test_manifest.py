"""Folder manifests: DVC's bytes, and nothing from strangers but what is safe."""

from __future__ import annotations

import json
import subprocess
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import BadInput, Corrupt
from modelkeep.data.formats import manifest
from modelkeep.data.formats.names import safe_relpath
from tests.peers import program

OID = "d41d8cd98f00b204e9800998ecf8427e"


def _is_safe(path: str) -> bool:
    try:
        safe_relpath(path, "")
    except BadInput:
        return False
    return True


names = st.text(st.characters(exclude_characters="/\0\\:", codec="utf-8"), min_size=1, max_size=8)
odd = st.sampled_from(
    ['a"b', "a\\b", "sub-a", "sub/x", "é", "😀", "\udcff.bin", "Icon\r", "a b", "\x7f", "..x", "~1", "a:b"]
)
paths = (names | odd | st.lists(names, min_size=2, max_size=3).map("/".join)).filter(_is_safe)
oids = st.text("0123456789abcdef", min_size=32, max_size=32)


def _apart(entries: dict[str, str]) -> bool:
    folders = {path[:at] for path in entries for at, char in enumerate(path) if char == "/"}
    return not folders & entries.keys()


trees = st.dictionaries(paths, oids, max_size=12).filter(_apart)


@given(trees)
def test_a_manifest_is_read_as_it_was_written(tree: dict[str, str]) -> None:
    data = manifest.encode(tree.items())
    assert dict(manifest.decode(data, "x")) == tree
    assert data == json.dumps([{"md5": tree[path], "relpath": path} for path in sorted(tree)], sort_keys=True).encode()
    assert manifest.oid_of(data) == md5(data).hexdigest() + ".dir"


@given(trees, st.randoms())
def test_order_does_not_matter(tree: dict[str, str], random: object) -> None:
    entries = list(tree.items())
    random.shuffle(entries)  # type: ignore[attr-defined]
    assert manifest.encode(entries) == manifest.encode(tree.items())
    shuffled = json.dumps([{"relpath": path, "md5": oid, "size": 3, "isexec": True} for path, oid in entries]).encode()
    assert manifest.decode(shuffled, "x") == sorted(entries)


@pytest.mark.needs("dvc")
def test_these_are_the_bytes_of_dvc() -> None:
    tree = {"sub-a": OID, "sub/x": OID, 'q"': OID, "é": OID, "😀/b\\c": OID, "Z": OID, "a\x7f": OID, "\udcff": OID}
    code = (
        "import sys, json; from dvc_data.hashfile.tree import Tree\n"
        "tree = Tree.from_list(json.load(sys.stdin), hash_name='md5'); tree.digest()\n"
        "sys.stdout.buffer.write(tree.as_bytes() + b'\\n' + tree.oid.encode())"
    )
    given_ = json.dumps([{"md5": oid, "relpath": path} for path, oid in tree.items()])
    ran = subprocess.run(
        [program("dvc").with_name("python"), "-c", code], input=given_.encode(), capture_output=True, check=True
    )
    data, oid = ran.stdout.rsplit(b"\n", 1)
    assert manifest.encode(tree.items()) == data
    assert manifest.oid_of(data) == oid.decode()


def _data(*entries: tuple[str, str]) -> bytes:
    return json.dumps([{"md5": oid, "relpath": path} for path, oid in entries]).encode()


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", Corrupt, "not a folder manifest"),
        (b"{}", Corrupt, "not a folder manifest"),
        (b"[1]", Corrupt, "not a folder manifest"),
        (b"[{}]", Corrupt, "not a folder manifest"),
        (b'[{"relpath": "a"}]', Corrupt, "md5"),
        (b'[{"md5": 3, "relpath": "a"}]', Corrupt, "not a folder manifest"),
        (_data(("a", OID))[:-1], Corrupt, "not a folder manifest"),
        (_data(("a", OID[:-1])), Corrupt, "'a' has no md5"),
        (_data(("a", OID.upper())), Corrupt, "'a' has no md5"),
        (_data(("a", "../" + OID[3:])), Corrupt, "'a' has no md5"),
        (_data(("a", OID + ".dir")), Corrupt, "'a' has no md5"),
        (_data(("a", OID), ("../../x", OID)), BadInput, "'../../x' is no safe path"),
        (_data(("/etc/passwd", OID)), BadInput, "'/etc/passwd' is no safe path"),
        (_data((".git/hooks/pre-commit", OID)), BadInput, "no safe path"),
        (_data(("a", OID), ("a", "0" * 32)), BadInput, "'a' is there twice"),
        (_data(("a", OID), ("a-b", OID), ("a/b/c", OID)), BadInput, "'a' is both a file and a folder"),
        (b"[" * 100_000, Corrupt, "not a folder manifest"),
        (b'[{"md5": "\xff"}]', Corrupt, "not a folder manifest"),
    ],
)
def test_nonsense_and_traversal_are_refused(data: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as refused:
        manifest.decode(data, "files/md5/ab.dir")
    assert str(refused.value).startswith("files/md5/ab.dir: ")
    assert says in str(refused.value)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    data = manifest.encode(draw(trees).items())
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(max_size=3)) + data[at + 1 :]


@given(st.binary(max_size=60) | _damaged())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        entries = manifest.decode(data, "x")
    except (BadInput, Corrupt):
        return
    assert all(_is_safe(path) for path, _ in entries)
    assert entries == sorted(entries)
