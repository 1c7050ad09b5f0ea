from __future__ import annotations

import os
import random
from hashlib import md5
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.errors import Corrupt, Error, Missing, Unreachable
from modelkeep.data.moving.cloud import Cloud, key_of, oid_of
from modelkeep.data.moving.reachable import names_in, reachable
from modelkeep.data.moving.transfer import Load, Moved, Tally
from modelkeep.data.moving.wanted import Wanted, by_remote, wanted
from modelkeep.data.verbs.add import add
from modelkeep.data.verbs.pull import pull
from modelkeep.data.verbs.push import push
from tests.data.transfers import Ground, git, ground

OIDS = st.text("0123456789abcdef", min_size=32, max_size=32)


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    return ground(tmp_path)


@given(OIDS, st.sampled_from(["", ".dir"]), st.booleans())
def test_a_key_gives_its_oid_back(oid: str, suffix: str, legacy: bool) -> None:
    assert oid_of(key_of(oid + suffix, legacy=legacy)) == oid + suffix


@given(st.lists(st.tuples(OIDS, st.sampled_from(["", ".dir"])), max_size=5), st.binary(max_size=40))
def test_whatever_a_metafile_names_is_found_even_amid_rubbish(named: list[tuple[str, str]], rubbish: bytes) -> None:
    lines = [f"\n- md5: {oid}{suffix}\n  size: 3\n".encode() for oid, suffix in named]
    data = rubbish.replace(b"\n", b"") + b"".join(lines) + rubbish
    assert names_in(data) >= {oid + suffix for oid, suffix in named} - {oid for oid, _ in named}
    assert {name[:32] for name in names_in(data)} >= {oid for oid, _ in named}


def test_an_output_is_taken_once_however_often_it_is_named(here: Ground) -> None:
    here.folder("data", 3)
    outs = wanted(here.repo, [here.root / "data", here.root / "data.dvc", here.root / "data"])
    assert [one.name for one in outs] == ["data"]


def test_outputs_are_grouped_by_the_remote_they_ask_for() -> None:
    outs = [Wanted(name="a", oid="1"), Wanted(name="b", oid="2", remote="other"), Wanted(name="c", oid="3")]
    assert {name: [one.name for one in some] for name, some in by_remote(outs, "mine").items()} == {
        "mine": ["a", "c"],
        "other": ["b"],
    }


def test_what_another_repository_keeps_is_not_pushed(here: Ground) -> None:
    here.write("one.txt", b"one")
    here.add("one.txt")
    metafile = here.root / "one.txt.dvc"
    text = "frozen: true\ndeps:\n- path: x\n  repo:\n    url: https://example.org/r\n    rev_lock: abc\n"
    metafile.write_text(text + metafile.read_text())
    assert wanted(here.repo, pushing=True) == []
    assert len(wanted(here.repo)) == 1


def test_a_load_names_objects_by_their_first_path() -> None:
    load = Load(
        [Wanted(name="d", oid="0.dir", filter="a")], members={"0.dir": [("a/x", "1"), ("b/x", "1"), ("b/y", "2")]}
    )
    assert load.asked() == {"1"}
    assert load.names(["1", "2", "0.dir"]) == {"0.dir": "d", "1": "d/a/x", "2": "d/b/y"}


@pytest.mark.parametrize(
    ("kinds", "raised"),
    [(["failed", "missing", "corrupt"], Corrupt), (["failed", "missing"], Missing), (["failed"], Unreachable)],
)
def test_the_worst_fault_decides(kinds: list[str], raised: type[Error]) -> None:
    tally = Tally()
    for number, kind in enumerate(kinds):
        if kind == "failed":
            tally.failed(str(number), "a/b", Unreachable("no answer"))
        else:
            tally.fault(kind, str(number), "a/b", "why")  # type: ignore[arg-type]
    moved = tally.moved("origin") + Moved()
    with pytest.raises(raised):
        moved.settle("push")


def test_many_faults_are_told_in_a_few_words() -> None:
    tally = Tally()
    for number in range(500):
        tally.fault("missing", f"{number:032x}", f"data/f{number}", "not on origin")
    with pytest.raises(Missing) as caught:
        tally.moved("origin").settle("pull")
    assert len(caught.value.message) < 700
    assert "and 495 more" in caught.value.message


def settled(here: Ground) -> None:
    old = here.remote / "files" / "md5"
    for folder in (old, *old.iterdir()):
        os.utime(folder, (1_000_000_000, 1_000_000_000))


def test_a_folder_of_this_machine_is_remembered_only_when_it_is_settled(here: Ground) -> None:
    here.folder("data", 3)
    push(here.repo)
    push(here.repo)
    oid = wanted(here.repo)[0].oid
    assert Cloud.open(here.repo).whole([oid]) == set()  # it changed a moment ago
    settled(here)
    push(here.repo)
    assert Cloud.open(here.repo).whole([oid]) == {oid}
    (here.remote / "files" / "md5" / "zz").mkdir()
    assert Cloud.open(here.repo).whole([oid]) == set()


def test_what_is_remembered_of_a_remote_may_be_lost_or_spoilt(here: Ground) -> None:
    here.folder("data", 3)
    push(here.repo)
    settled(here)
    push(here.repo)
    for rubbish in (b"", b"{", b"[]", b'{"whole": 3}', os.urandom(100)):
        for file in (here.repo.private / "remotes").iterdir():
            file.write_bytes(rubbish)
        assert push(here.repo).objects == 0


def test_chunked_files_travel_as_chunks(here: Ground) -> None:
    pytest.importorskip("numpy")
    data = random.Random(1).randbytes(3 << 20)
    here.write("model.bin", data)
    add(here.repo, [here.root / "model.bin"], chunked=True)
    first = push(here.repo)
    assert first.bytes >= len(data)
    assert list((here.remote / "chunks").iterdir())
    changed = data[:1_000_000] + b"changed" + data[1_000_007:]
    here.write("model.bin", changed)
    add(here.repo, [here.root / "model.bin"], chunked=True)
    assert push(here.repo).bytes < len(data) * 0.1
    assert push(here.repo).objects == 0
    here.lose_cache()
    here.lose("model.bin")
    pull(here.repo)
    assert (here.root / "model.bin").read_bytes() == changed


def test_reachable_says_what_it_looked_at(here: Ground) -> None:
    here.folder("data", 3)
    here.commit("one")
    git(here.root, "tag", "v1")
    reach = reachable(here.repo)
    assert len(reach.oids) == 4
    assert any("tag v1" in source for source in reach.sources)
    assert any("branch" in source for source in reach.sources)
    assert reach.lost == {}


def test_snapshots_of_a_growing_dataset_are_kept_and_pushed(here: Ground) -> None:
    here.folder("data", 3)
    first = wanted(here.repo)[0].oid
    (here.root / "data.snapshots").write_text(f'{{"at": "2026-01-01T00:00:00Z", "oid": "{first}"}}\n')
    here.write("data/more", b"more")
    here.add("data")
    assert first in reachable(here.repo).oids
    push(here.repo)
    assert first in here.objects(here.remote)


def test_an_object_without_bytes_travels_too(here: Ground) -> None:
    here.write("empty", b"")
    here.add("empty")
    push(here.repo)
    here.lose_cache()
    here.lose("empty")
    pull(here.repo)
    assert (here.root / "empty").read_bytes() == b""
    assert md5(b"").hexdigest() in here.objects()
