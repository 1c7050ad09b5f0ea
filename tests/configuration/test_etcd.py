from __future__ import annotations

from itertools import count

import pytest

from modelkeep.configuration.sources.etcd import Etcd
from modelkeep.core.errors import BadInput, Denied, Missing
from tests.configuration.following import each_is_seen, flood_is_coalesced, restart_is_survived
from tests.configuration.servers import QUOTED, Server, etcd_do, etcd_put, house

pytestmark = pytest.mark.needs("etcd")
_numbers = count()


@pytest.fixture
def server() -> Server:
    return house().server("etcd")


@pytest.fixture
def path() -> str:
    return f"etcd{next(_numbers)}"


def address(server: Server, path: str, user: str = "root") -> str:
    return f"etcd://{user}:{QUOTED}@127.0.0.1:{server.port}/{path}"


def test_fifty_of_fifty(server: Server, path: str) -> None:
    each_is_seen(address(server, path), lambda number: etcd_put(server.port, f"{path}/n", str(number)))


def test_a_flood_is_coalesced(server: Server, path: str) -> None:
    flood_is_coalesced(address(server, path), lambda number: etcd_put(server.port, f"{path}/n", str(number)))


def test_a_restart_is_survived(server: Server, path: str) -> None:
    restart_is_survived(address(server, path), lambda n: etcd_put(server.port, f"{path}/n", str(n)), server)


def test_revisions_that_were_compacted_away_are_no_matter(server: Server, path: str) -> None:
    etcd_put(server.port, f"{path}/n", "1")
    source = Etcd(address(server, path))
    seen = source.read().version
    for number in range(5):
        etcd_put(server.port, f"{path}/n", str(number))
    revision = etcd_do(server.port, "/v3/kv/range", {"key": "YQ=="})["header"]["revision"]
    etcd_do(server.port, "/v3/kv/compaction", {"revision": revision, "physical": True})
    assert source.watch(seen, 5)
    assert source.read().tree == {"n": 4}
    source.close()


def test_a_neighbour_whose_name_begins_alike_is_another(server: Server, path: str) -> None:
    etcd_put(server.port, f"{path}/n", "1")
    etcd_put(server.port, f"{path}x/n", "2")
    source = Etcd(address(server, path))
    reading = source.read()
    assert reading.tree == {"n": 1}
    assert str(reading.mark("n")) == f"etcd {path}/n"
    etcd_put(server.port, f"{path}x/n", "3")
    assert not source.watch(reading.version, 0.2)
    source.close()


def test_paths_with_a_slash_before_them_and_all_keys(server: Server, path: str) -> None:
    slashed = Etcd(f"{address(server, path)}?slash=1")
    slashed.write({"a.b": 1})
    assert slashed.read().tree == {"a": {"b": 1}}
    assert str(slashed.read().mark("a.b")) == f"etcd /{path}/a/b"
    etcd_do(server.port, "/v3/kv/deleterange", {"key": "AA==", "range_end": "AA=="})
    everything = Etcd(address(server, ""))
    everything.write({f"{path}only": 5})
    assert everything.read().tree[f"{path}only"] == 5
    everything.write({f"{path}only": None})
    for source in (slashed, everything):
        source.close()


def test_one_key_may_hold_a_file(server: Server, path: str) -> None:
    etcd_put(server.port, f"{path}/app", "a: [1,")
    source = Etcd(f"{address(server, f'{path}/app')}?format=yaml")
    with pytest.raises(BadInput, match=rf"^{path}/app:\d"):
        source.read()
    etcd_put(server.port, f"{path}/app", "a: 1")
    assert source.watch("x", 5)
    assert source.read().tree == {"a": 1}
    source.close()


def test_who_may_read_there_reads(server: Server, path: str) -> None:
    etcd_put(server.port, "other/n", "1")
    eve = Etcd(address(server, "other", "eve"))
    seen = eve.read()
    assert seen.tree == {"n": 1}
    with pytest.raises(Denied):
        eve.write({"n": 2})
    etcd_put(server.port, "other/n", "2")
    assert eve.watch(seen.version, 5)
    eve.close()
    stranger = Etcd(address(server, path, "eve"))
    with pytest.raises(Denied):
        stranger.read()
    stranger._revision, stranger._last = 1, "x"
    with pytest.raises(Denied):
        stranger.watch("x", 5)
    stranger.close()
    for where in (f"etcd://127.0.0.1:{server.port}/{path}", f"etcd://root:wrong@127.0.0.1:{server.port}/{path}"):
        nobody = Etcd(where)
        with pytest.raises(Denied):
            nobody.read()
        nobody.close()


def test_a_pass_that_has_expired_is_asked_anew(server: Server, path: str) -> None:
    etcd_put(server.port, f"{path}/n", "1")
    source = Etcd(address(server, path))
    source.read()
    server.stop()
    server.start()
    assert source.read().tree == {"n": 1}
    source.close()


def test_nothing_there(server: Server, path: str) -> None:
    source = Etcd(address(server, path))
    with pytest.raises(Missing, match="there are no keys"):
        source.read()
    source.close()
