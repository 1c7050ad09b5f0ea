"""Webhooks at a real server: signed messages become deploys, others change nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from modelkeep.code.webhooks import LIMIT_BYTES, github_signature, standard_signature
from modelkeep.core.errors import BadInput, Missing
from modelkeep.server.webhooks import open_webhooks
from tests.code import payloads as form
from tests.code.payloads import A, B
from tests.server.conftest import Running, running

HUB, LAB = "/api/v1/webhooks/github", "/api/v1/webhooks/gitlab"
SECRET = "hub-s3cret"
WEBHOOKS = [
    {"name": "old", "kind": "github", "secret": "another"},
    {"name": "hub", "kind": "github", "secret": SECRET},
    {"name": "lab", "kind": "gitlab", "secret": "lab-s3cret"},
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with webhooks, and with a token, so that nothing is open."""
    from modelkeep.server.settings import CodeSettings

    folder = tmp_path_factory.mktemp("hooks") / "data"
    with running(folder, code=CodeSettings(webhooks=WEBHOOKS)) as server:  # type: ignore[arg-type]
        text = server.house.tokens.create("ann", ["read"])[1]
        server.serving.app.door.look_again()
        server.client.headers["Authorization"] = f"Bearer {text}"
        yield server


def hub(
    server: Running, event: str, body: object, *, secret: str = SECRET, delivery: str = "", **more: str
) -> httpx.Response:
    data = json.dumps(body).encode()
    headers = {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or f"d{time.monotonic_ns()}",
        "X-Hub-Signature-256": github_signature(secret, data),
        "Content-Type": "application/json",
        "Authorization": "",
        **more,
    }
    return server.client.post(HUB, content=data, headers=headers)


def lab(server: Running, body: object, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return server.client.post(LAB, content=json.dumps(body).encode(), headers={**given, "Authorization": ""})


def rows(server: Running, path: str, name: str, **asked: object) -> list[dict[str, object]]:
    found = server.get(path, **asked)[name]
    assert isinstance(found, list)
    return found


def deploys(server: Running, **asked: object) -> list[dict[str, object]]:
    return rows(server, "/api/v1/deploys", "deploys", **asked)


def test_a_push_becomes_a_deploy_whose_times_are_kept_apart(house: Running) -> None:
    before = time.time()
    answer = hub(house, "push", form.HUB_PUSH)
    assert answer.status_code == 200, answer.text
    assert answer.json()["kind"] == "push"
    assert not answer.json()["repeated"]
    [found] = [one for one in deploys(house) if one["id"] == answer.json()["id"]]
    assert (found["webhook"], found["source"], found["code"], found["before"]) == ("hub", "github", B, A)
    assert (found["author"], found["pusher"]) == ("Ann <ann@example.org>", "bo")
    assert found["coauthors"] == ["Cy <cy@example.org>"]
    assert found["authored"] == "2030-01-01T10:00:00Z"  # a clock that is years ahead says so, and orders nothing
    received = str(found["at"])
    assert received[:4] == str(time.gmtime(before).tm_year)
    later = hub(house, "push", form.HUB_TAG).json()["id"]
    assert [one["id"] for one in deploys(house, limit=2)] == [later, found["id"]]


def test_every_kind_is_kept_and_found(house: Running) -> None:
    hub(house, "pull_request", form.HUB_MERGE)
    hub(house, "deployment_status", form.HUB_DEPLOYMENT)
    assert [one["title"] for one in deploys(house, kind="merge")] == ["Better features"]
    [deployment] = deploys(house, kind="deployment")
    assert (deployment["environment"], deployment["state"]) == ("production", "success")
    assert {one["code"] for one in deploys(house, code=B[:7], repository="team/model")} == {B}
    assert hub(house, "ping", {"zen": "x"}).json() == {"id": None, "kind": None, "repeated": False}


def test_what_is_not_signed_is_401_and_changes_nothing(house: Running) -> None:
    count = len(deploys(house, limit=10_000))
    body = json.dumps(form.HUB_PUSH).encode()
    good = github_signature(SECRET, body)
    for headers in (
        {},
        {"X-Hub-Signature-256": good[:-1] + ("0" if good[-1] != "0" else "1")},
        {"X-Hub-Signature-256": github_signature("guess", body)},
        {"X-Hub-Signature-256": github_signature("", body)},
        {"X-Hub-Signature": good},
        {"X-Gitlab-Token": SECRET},
    ):
        answer = house.client.post(HUB, content=body, headers={"X-GitHub-Event": "push", **headers})
        assert answer.status_code == 401, headers
        assert "secret" in answer.json()["error"]["hint"]
        assert SECRET not in answer.text
    changed = house.client.post(
        HUB, content=body + b" ", headers={"X-Hub-Signature-256": good, "X-GitHub-Event": "push"}
    )
    assert changed.status_code == 401
    assert lab(house, form.LAB_PUSH).status_code == 401
    assert lab(house, form.LAB_PUSH, X_Gitlab_Token="hub-s3cret").status_code == 401
    assert len(deploys(house, limit=10_000)) == count


def test_a_replayed_message_is_kept_once_whatever_it_is_called(house: Running) -> None:
    body = {**form.HUB_PUSH, "ref": "refs/heads/replayed"}
    first = hub(house, "push", body, delivery="g1").json()
    again = [hub(house, "push", body, delivery=name).json() for name in ("g1", "g2", "")]
    assert [one["repeated"] for one in again] == [True] * 3
    assert {one["id"] for one in again} == {first["id"]}
    with ThreadPoolExecutor(8) as pool:
        body = {**body, "ref": "refs/heads/at-once"}
        told = list(pool.map(lambda n: hub(house, "push", body, delivery=f"h{n}").json()["repeated"], range(12)))
    assert told.count(False) == 1


def test_gitlab_by_its_token_and_by_its_signature(house: Running) -> None:
    first = lab(house, form.LAB_PUSH, X_Gitlab_Token="lab-s3cret", X_Gitlab_Event_UUID="u1")
    assert first.status_code == 200, first.text
    assert lab(house, form.LAB_PUSH, X_Gitlab_Token="lab-s3cret", X_Gitlab_Event_UUID="u1").json()["repeated"]
    assert not lab(house, form.LAB_PUSH, X_Gitlab_Token="lab-s3cret", X_Gitlab_Event_UUID="u2").json()["repeated"]
    data = json.dumps(form.LAB_MERGE).encode()

    def signed(id_: str, at_s: int) -> httpx.Response:
        signature = standard_signature(b"lab-s3cret", id_, str(at_s), data)
        headers = {"webhook-id": id_, "webhook-timestamp": str(at_s), "webhook-signature": signature}
        return house.client.post(LAB, content=data, headers=headers)

    now_s = int(time.time())
    assert signed("m1", now_s).json()["kind"] == "merge"
    assert signed("m1", now_s).json()["repeated"]
    assert signed("m2", now_s - 3_600).status_code == 401  # an old one that somebody recorded


def test_bodies_have_a_limit_and_unsigned_ones_are_not_read(house: Running) -> None:
    large = b" " * (LIMIT_BYTES + 1)
    assert house.client.post(HUB, content=large, headers={"X-Hub-Signature-256": "sha256=0"}).status_code == 413
    assert house.client.post(HUB, content=large).status_code == 401
    padded = json.dumps(form.HUB_PUSH).encode() + b" " * 3_000_000
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": github_signature(SECRET, padded)}
    assert house.client.post(HUB, content=padded, headers=headers).status_code == 200
    headers["X-Hub-Signature-256"] = github_signature(SECRET, b"[]")
    assert house.client.post(HUB, content=b"[]", headers=headers).status_code == 400


def test_messages_are_counted_by_what_became_of_them(house: Running) -> None:
    hub(house, "ping", {})
    hub(house, "push", form.HUB_PUSH, secret="wrong")
    text = house.client.get("/metrics").text
    assert 'modelkeep_webhooks_total{result="ignored",source="github"}' in text
    assert 'modelkeep_webhooks_total{result="refused",source="github"}' in text


def test_a_push_is_among_what_changed(house: Running) -> None:
    hub(house, "push", {**form.HUB_PUSH, "ref": "refs/heads/suspect"})
    changes = rows(house, "/api/v1/changes", "changes", at="now", limit=100)
    [found] = [one for one in changes if "suspect" in str(one["title"])]
    assert (found["kind"], found["code"], found["who"]) == ("push", B, "bo")


def test_other_methods_and_paths_are_not_there(house: Running) -> None:
    assert house.client.get(HUB).status_code == 405
    assert house.client.post("/api/v1/webhooks/other", content=b"{}").status_code in {401, 404}
    assert house.client.post(HUB, content=b"{}", headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"kind": "github", "secret": "x"}, r"code.webhooks\[0\] needs a name"),
        ({"name": "a", "kind": "svn", "secret": "x"}, "kind is 'svn'"),
        ({"name": "a", "kind": "github"}, "without a secret proves nothing"),
        ({"name": "a", "kind": "github", "secret": ""}, "without a secret proves nothing"),
        ({"name": "a", "kind": "github", "secret": "x", "url": "y"}, "unknown key 'url'"),
    ],
)
def test_a_wrong_setting_is_refused_at_its_place(entry: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        open_webhooks([entry])


def test_a_secret_is_named_in_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = {"name": "a", "kind": "github", "secret": "secret:HUB"}
    with pytest.raises(Missing, match="HUB"):
        open_webhooks([entry])
    monkeypatch.setenv("MODELKEEP_SECRET_HUB", "hunter2")
    [found] = open_webhooks([entry])
    assert found.secret.reveal() == "hunter2"
    assert "hunter2" not in repr(found)
    monkeypatch.setenv("MODELKEEP_SECRET_HUB", "")
    with pytest.raises(BadInput, match="the secret is empty"):
        open_webhooks([entry])
    with pytest.raises(BadInput, match="name of its own"):
        open_webhooks([{**entry, "secret": "x"}, {**entry, "secret": "y"}])
