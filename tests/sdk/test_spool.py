"""The spool: cut at any byte, by any order of operations, by any process."""

from __future__ import annotations

import shutil
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelkeep.sdk import spool as spools
from modelkeep.sdk.packages import Package
from modelkeep.sdk.spool import DiskSpool, MemorySpool


def package(number: int) -> Package:
    return Package(b"%d" % number * (number % 7 + 1), "deflate", number % 5 + 1)


class Lost(dict[str, int]):
    def __call__(self, reason: str, rows: int) -> None:
        self[reason] = self.get(reason, 0) + rows


def everything(spool: DiskSpool) -> list[Package]:
    found = []
    while (head := spool.head()) is not None:
        found.append(head)
        spool.advance()
    return found


@given(steps=st.lists(st.sampled_from(["append", "advance", "restart"]), max_size=40))
def test_it_is_a_queue_whatever_happens(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("spool")
    lost, model = Lost(), deque[Package]()
    process = 0
    spool = DiskSpool(folder, "p0", quota_bytes=10**9, dropped=lost)
    for number, step in enumerate(steps):
        if step == "append":
            spool.append(package(number))
            model.append(package(number))
        elif step == "advance":
            spool.head()
            spool.advance()
            if model:
                model.popleft()
        else:
            spool.close()
            process += 1
            spool = DiskSpool(folder, f"p{process}", quota_bytes=10**9, dropped=lost)
            spool.adopt()
            repeated = everything(spool)
            assert repeated[len(repeated) - len(model) :] == list(model)
            for each in repeated:
                spool.append(each)
            model = deque(repeated)
        assert spool.head() == (model[0] if model else None)
    assert everything(spool) == list(model)
    spool.close()
    assert lost == {}
    assert list(folder.iterdir()) == []


@settings(max_examples=150)
@given(data=st.data())
def test_a_file_cut_anywhere_is_read_up_to_the_cut(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    folder = tmp_path_factory.mktemp("spool")
    lost = Lost()
    packages = [package(number) for number in range(6)]
    spool = DiskSpool(folder, "dead", quota_bytes=10**9, dropped=lost)
    ends = [0]
    for each in packages:
        spool.append(each)
        ends.append(next(folder.glob("*/*.spool")).stat().st_size)
    spool.close()
    file = next(folder.glob("*/*.spool"))
    cut = data.draw(st.integers(0, ends[-1]))
    file.write_bytes(file.read_bytes()[:cut])
    spool = DiskSpool(folder, "next", quota_bytes=10**9, dropped=lost)
    spool.adopt()
    whole = sum(end <= cut for end in ends[1:])
    assert everything(spool) == packages[:whole]
    assert set(lost) == (set() if cut in ends else {"spool_cut"})
    spool.close()


@given(place=st.integers(0, 200), value=st.integers(0, 255))
def test_a_damaged_byte_is_never_sent_and_never_stops_the_rest(tmp_path_factory, place: int, value: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    lost = Lost()
    packages = [package(number) for number in range(6)]
    spool = DiskSpool(folder, "dead", quota_bytes=10**9, dropped=lost)
    for each in packages:
        spool.append(each)
    spool.close()
    file = next(folder.glob("*/*.spool"))
    content = bytearray(file.read_bytes())
    content[place % len(content)] = value
    file.write_bytes(content)
    spool = DiskSpool(folder, "next", quota_bytes=10**9, dropped=lost)
    spool.adopt()
    spool.append(package(77))
    found = everything(spool)
    assert {each.body for each in found} <= {each.body for each in [*packages, package(77)]}
    assert found[-1] == package(77)
    spool.close()


def test_files_roll_and_a_living_process_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_SEGMENT_BYTES", 60)
    lost = Lost()
    living = DiskSpool(tmp_path, "living", quota_bytes=10**9, dropped=lost)
    packages = [package(number) for number in range(20)]
    for each in packages:
        living.append(each)
    assert len(list(tmp_path.glob("*/*.spool"))) > 3
    other = DiskSpool(tmp_path, "other", quota_bytes=10**9, dropped=lost)
    other.adopt()
    assert other.head() is None
    other.close()
    living.close()
    heir = DiskSpool(tmp_path, "heir", quota_bytes=10**9, dropped=lost)
    heir.append(package(99))
    heir.adopt()
    assert everything(heir) == [*packages, package(99)]
    heir.close()
    assert lost == {}


def test_the_quota_is_of_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_SEGMENT_BYTES", 200)
    lost = Lost()
    first = DiskSpool(tmp_path, "first", quota_bytes=1000, dropped=lost)
    second = DiskSpool(tmp_path, "second", quota_bytes=1000, dropped=lost)
    for number in range(60):
        (first if number % 2 else second).append(Package(b"x" * 50, "deflate", 1))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.spool")) <= 1000
    assert lost["spool_quota"] == 60 - len(everything(first)) - len(everything(second))
    first.close()
    second.close()


def test_the_head_in_flight_is_not_forgotten_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_SEGMENT_BYTES", 60)
    spool = DiskSpool(tmp_path, "p", quota_bytes=200, dropped=Lost())
    spool.append(Package(b"1" * 30, "deflate", 1))
    assert spool.head() is not None
    for number in range(2, 8):
        spool.append(Package(b"%d" % number * 30, "deflate", 1))
    spool.advance()
    assert [each.body[:1] for each in everything(spool)] == [b"4", b"5", b"6", b"7"]
    spool.close()


def test_a_disk_that_takes_nothing_says_so_and_holds_no_half(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path / "spool", "p", quota_bytes=10**9, dropped=Lost())
    spool.append(package(1))
    shutil.rmtree(tmp_path / "spool")
    spool.append(package(2))
    spool.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        DiskSpool(tmp_path / "file", "p", quota_bytes=10**9, dropped=Lost()).append(package(1))


def test_memory_is_the_same_queue() -> None:
    lost = Lost()
    spool = MemorySpool(100, lost)
    for _ in range(40):
        spool.append(Package(b"x" * 10, "identity", 1))
    assert lost == {"spool_quota": 30}
    spool.head()
    spool.advance()
    spool.close()
    assert lost == {"spool_quota": 30, "exit": 9}
    assert spool.head() is None
