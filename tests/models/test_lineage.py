"""The way from data to alerts, begun anywhere: every edge leads from what was used to what came of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelkeep.core.clock import HOUR
from modelkeep.models.lineage import MOST, Asked, Fired, begins, graph
from modelkeep.models.timeline import stretches
from modelkeep.store.trainings import Training
from tests.models.test_timeline import START, release, served

A, B, D, E = "a" * 40, "b" * 40, "d" * 32, "e" * 32
ORDER = ("data", "code", "configuration", "training", "model", "release", "predictions", "alert")

first = release("r1", 0, "1", code=A, data_version=f"md5: {D}", config_version="k1", author="ann")
second = release("r2", 10, "2", code=B, data_version=f"{E}.dir")
canary = release("r3", 11, "3", code=B, role="canary")
other = release("r4", 1, "1", "n", data_version=D)
STRETCHES = stretches([first, second, canary, other], [served(first, 9), served(second, 9), served(canary, 1)])
TRAININGS = [
    Training(id="t1", model="m", version="1", at_ns=START - HOUR, end_ns=START, code=A, data_version=D, by="bob"),
    Training(id="t9", model="m", version="9", at_ns=START, status="failed", data_version=E, metrics='{"auc":0.5}'),
    Training(id="tn", model="n", at_ns=START, data_version=D),
]
ALERTS = [
    Fired("a1", "Drift", START + 5 * HOUR, "m"),
    Fired("a2", "Quality", START + 12 * HOUR, "m", "2"),
    Fired("a3", "Late", START + 12 * HOUR, "m"),
    Fired("a4", "Disk", START + 12 * HOUR),
    Fired("a5", "Early", START - HOUR, "m"),
]


def edges(asked: Asked) -> set[tuple[str, str]]:
    return {(one.source, one.target) for one in graph(asked, STRETCHES, TRAININGS, ALERTS).edges}


def ids(asked: Asked, kind: str) -> set[str]:
    return {one.id.partition(":")[2] for one in graph(asked, STRETCHES, TRAININGS, ALERTS).nodes if one.kind == kind}


def test_a_model_leads_from_its_data_to_its_alerts() -> None:
    found = edges(Asked(model="m"))
    assert {
        (f"data:{D}", "training:t1"), (f"code:{A}", "training:t1"), ("training:t1", "model:m@1"),
        (f"data:{D}", "model:m@1"), ("model:m@1", "release:r1"), ("configuration:k1", "release:r1"),
        ("release:r1", "predictions:r1"), ("predictions:r1", "alert:a1"), ("predictions:r2", "alert:a2"),
        ("predictions:r2", "alert:a3"), ("predictions:r3", "alert:a3"), (f"data:{E}", "training:t9"),
    } <= found  # fmt: skip
    assert ("predictions:r3", "alert:a2") not in found, "the alert names version 2"
    assert ("predictions:r1", "alert:a3") not in found, "version 2 had taken over"
    assert not {one for one in found if "a4" in one[1] or "a5" in one[1]}
    assert not {one for one in found if one == ("training:t9", "model:m@9")}, "a failed training made no version"


def test_data_leads_to_every_release_that_used_it() -> None:
    assert ids(Asked(data=D), "release") == {"r1", "r4"}
    assert ids(Asked(data=f"md5:{D[:7]}"), "training") == {"t1", "tn"}
    assert ids(Asked(data=E), "release") == {"r2"}
    assert ids(Asked(data=E), "training") == {"t9"}
    assert ids(Asked(data="2026"), "release") == set()


def test_a_release_leads_back_to_what_it_was_made_of() -> None:
    assert ids(Asked(release="r1"), "training") == {"t1"}
    assert ids(Asked(release="r1"), "data") == {D}
    assert ids(Asked(release="r1"), "model") == {"m@1"}
    assert ids(Asked(code=B[:8]), "release") == {"r2", "r3"}
    assert ids(Asked(model="m", version="2"), "release") == {"r2"}


def test_details_say_what_people_ask_next() -> None:
    nodes = {one.id: one for one in graph(Asked(model="m"), STRETCHES, TRAININGS, ALERTS).nodes}
    assert (nodes["release:r3"].name, nodes["release:r3"].details["role"]) == ("m 3 as canary", "canary")
    assert nodes["release:r1"].details["who"] == "ann"
    assert nodes["predictions:r1"].name == "10 predictions"
    assert nodes["training:t9"].details["metrics"] == "auc 0.5"
    assert nodes["alert:a1"].details["state"] == "firing"


def test_more_than_fits_is_said() -> None:
    many = stretches([release(str(n), n, str(n)) for n in range(MOST + 5)], [])
    found = graph(Asked(model="m"), many)
    assert found.truncated
    names = {one.name for one in found.nodes if one.kind == "release"}
    assert len(names) == MOST
    assert f"m {MOST + 4}" in names, "the newest stay"
    assert not graph(Asked(model="m", version="3"), many).truncated


@given(st.sampled_from(["", "m", "n"]), st.sampled_from(["", "1", "2"]), st.sampled_from(["", D, E[:9]]), st.booleans())
def test_edges_join_nodes_and_lead_forward(model: str, version: str, data: str, old: bool) -> None:
    found = graph(Asked(model, version, data, "r1" if old else ""), STRETCHES, TRAININGS, ALERTS)
    kinds = {one.id: ORDER.index(one.kind) for one in found.nodes}
    assert len(kinds) == len(found.nodes)
    for edge in found.edges:
        assert kinds[edge.source] < kinds[edge.target]
    assert [kinds[one.id] for one in found.nodes] == sorted(kinds.values())


def test_beginnings_of_hashes() -> None:
    assert begins(D, D[:7])
    assert not begins(D, D[:6])
    assert not begins("dddddddz", "ddddddd" + "z" * 2)
    assert begins("anything", "")
    assert not begins("", D)
