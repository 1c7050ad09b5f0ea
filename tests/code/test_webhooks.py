"""Messages of GitHub and GitLab: who may speak, and what is told."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.code.webhooks import (
    Message,
    Source,
    Told,
    github_signature,
    read,
    standard_signature,
    verified,
)
from modelkeep.core.errors import BadInput
from modelkeep.core.secret import Secret
from tests.code import payloads as form
from tests.code.payloads import A, B

NOW = 1_700_000_000 * 10**9
KEY = b"0123456789abcdef0123456789abcdef"
MADE = 1_893_492_000 * 10**9
"""What the commits of the forms say of their time: the year 2030."""


def hub(event: str, body: object, **headers: str) -> Message:
    return Message("github", {"x-github-event": event, "x-github-delivery": "d1", **headers}, json.dumps(body).encode())


def lab(body: object, **headers: str) -> Message:
    return Message(
        "gitlab", {name.replace("_", "-"): text for name, text in headers.items()}, json.dumps(body).encode()
    )


def test_a_push_to_github_says_who_wrote_and_who_pushed() -> None:
    assert read(hub("push", form.HUB_PUSH)) == Told(
        "push",
        "team/model",
        ref="refs/heads/main",
        code=B,
        before=A,
        author="Ann <ann@example.org>",
        committer="GitHub <noreply@github.com>",
        coauthors=("Cy <cy@example.org>",),
        pusher="bo",
        url=f"https://github.com/team/model/compare/{A[:12]}...{B[:12]}",
        title="Ünïcode subject",
        authored_ns=MADE,
    )


def test_a_tag_names_the_commit_not_the_tag_object() -> None:
    for message in (hub("push", form.HUB_TAG), lab(form.LAB_TAG)):
        told = read(message)
        assert told is not None
        assert (told.kind, told.code, told.before, told.state) == ("tag", B, "", "created")


def test_what_was_deleted_or_forced_is_said() -> None:
    for message in (hub("push", form.HUB_DELETED), lab(form.LAB_DELETED)):
        told = read(message)
        assert told is not None
        assert (told.state, told.code, told.before) == ("deleted", "", A)
    forced = read(hub("push", {**form.HUB_PUSH, "forced": True}))
    assert forced is not None
    assert forced.state == "forced"


def test_a_merge_says_what_was_merged_by_whom() -> None:
    told = read(hub("pull_request", form.HUB_MERGE))
    assert told is not None
    assert (told.kind, told.code, told.before, told.ref) == ("merge", B, A, "refs/heads/main")
    assert (told.author, told.pusher, told.title) == ("ann", "bo", "Better features")
    lab_told = read(lab(form.LAB_MERGE))
    assert lab_told is not None
    assert (lab_told.kind, lab_told.code, lab_told.ref) == ("merge", B, "refs/heads/main")
    assert (lab_told.author, lab_told.pusher, lab_told.title) == ("Ann <ann@example.org>", "bo", "Better features")
    assert lab_told.repository == "group/sub/model"


def test_a_deployment_says_where_and_how_it_went() -> None:
    for message in (hub("deployment_status", form.HUB_DEPLOYMENT), lab(form.LAB_DEPLOYMENT)):
        told = read(message)
        assert told is not None
        assert (told.kind, told.environment, told.state, told.code, told.pusher) == (
            "deployment", "production", "success", B, "bo",
        )  # fmt: skip


def test_a_push_to_gitlab_takes_the_commit_that_was_checked_out() -> None:
    told = read(lab(form.LAB_PUSH))
    assert told is not None
    assert (told.code, told.title, told.pusher, told.state) == (B, "Ünïcode subject", "bo", "")
    assert told.url == f"https://gitlab.example.org/group/sub/model/-/commit/{B}"
    assert told.authored_ns == MADE


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "2026-01-01", "soon", "", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_is_none_is_no_time(text: str) -> None:
    told = read(hub("push", {**form.HUB_PUSH, "head_commit": {**form.HUB_COMMIT, "timestamp": text}}))
    assert told is not None
    assert told.authored_ns == 0


def test_other_messages_tell_nothing() -> None:
    opened = {**form.HUB_MERGE, "action": "opened"}
    closed = {**form.HUB_MERGE, "pull_request": {**form.HUB_MERGE["pull_request"], "merged": False}}  # type: ignore[dict-item]
    update = {**form.LAB_MERGE, "object_attributes": {"action": "update", "state": "opened"}}
    messages = [hub("ping", {"zen": "x"}), hub("pull_request", opened), hub("pull_request", closed), hub("", {})]
    assert [read(message) for message in [*messages, lab(update), lab({}), lab({"object_kind": "note"})]] == [None] * 7


def test_a_form_is_read_and_what_is_no_message_is_refused() -> None:
    text = json.dumps(form.HUB_PUSH)
    from urllib.parse import urlencode

    sent = Message(
        "github",
        {"x-github-event": "push", "content-type": "application/x-www-form-urlencoded; charset=utf-8"},
        urlencode({"payload": text}).encode(),
    )
    assert read(sent) == read(hub("push", form.HUB_PUSH))
    for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000):
        with pytest.raises(BadInput):
            read(Message("github", {"x-github-event": "push"}, body))


def test_what_terminals_and_pages_should_not_see_is_taken_out() -> None:
    body = {
        **form.HUB_PUSH,
        "compare": "javascript:alert(1)",
        "repository": {"full_name": "team/\x1b[31mmodel", "html_url": "https://x"},
        "ref": "refs/heads/" + "x" * 9_000,
    }
    told = read(hub("push", body))
    assert told is not None
    assert told.url == ""
    assert "\x1b" not in told.repository
    assert len(told.ref) == 500


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([A, B, "closed", "merge", "merged"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
FORMS = st.sampled_from(
    [value for name, value in vars(form).items() if name.startswith(("HUB_", "LAB_")) and "COMMIT" not in name]
)


@given(FORMS, st.data())
def test_any_field_may_be_anything(body: dict[str, object], data: st.DataObject) -> None:
    changed = {name: data.draw(JSON) if data.draw(st.booleans()) else value for name, value in body.items()}
    for event in ("push", "pull_request", "deployment_status"):
        told = read(hub(event, changed))
        assert told is None or len(told.code) in {0, 40}
    read(lab(changed))


# Signatures


def test_github_signs_the_body() -> None:
    message = hub("push", form.HUB_PUSH)
    good = github_signature("s3cret", message.body)

    def says(signature: str, secret: str = "s3cret", body: bytes = message.body) -> bool:
        return verified(Message("github", {"x-hub-signature-256": signature}, body), Secret(secret), NOW)

    assert says(good)
    assert not says(good, secret="other")
    assert not says(good, body=message.body + b" ")
    for wrong in ("", "sha256=", good[:-1], good.upper(), good.replace("sha256", "sha1"), good + "0", "sha256=é"):
        assert not says(wrong)
    assert not verified(message, Secret("s3cret"), NOW)
    assert not says(github_signature("", message.body), secret="")


def standard(secret: bytes, at_s: int, **more: str) -> Message:
    id_, body = "msg_1", b"{}"
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(at_s),
        "webhook-signature": standard_signature(secret, id_, str(at_s), body),
        **more,
    }
    return Message("gitlab", headers, body)


@pytest.mark.parametrize("secret", [f"whsec_{b64encode(KEY).decode()}", b64encode(KEY).decode(), KEY.decode()])
def test_gitlab_signs_id_time_and_body(secret: str) -> None:
    now_s = NOW // 10**9
    good = standard(KEY, now_s)
    assert verified(good, Secret(secret), NOW)
    assert verified(standard(KEY, now_s - 299), Secret(secret), NOW)
    assert not verified(standard(KEY, now_s - 301), Secret(secret), NOW)
    assert not verified(standard(KEY, now_s + 301), Secret(secret), NOW)
    assert not verified(standard(b"another", now_s), Secret(secret), NOW)
    for name, value in (("webhook-id", "msg_2"), ("webhook-timestamp", str(now_s - 1)), ("webhook-timestamp", "soon"),
                        ("webhook-timestamp", ""), ("webhook-signature", ""), ("webhook-signature", "v1,"),
                        ("webhook-signature", "v2" + good.headers["webhook-signature"][2:])):  # fmt: skip
        assert not verified(Message("gitlab", {**good.headers, name: value}, good.body), Secret(secret), NOW)
    rotated = "v1,AAAA " + good.headers["webhook-signature"]
    assert verified(Message("gitlab", {**good.headers, "webhook-signature": rotated}, good.body), Secret(secret), NOW)
    assert not verified(Message("gitlab", good.headers, good.body + b" "), Secret(secret), NOW)


def test_gitlabs_token_is_the_secret_and_never_mends_a_signature() -> None:
    assert verified(lab({}, x_gitlab_token="s3cret"), Secret("s3cret"), NOW)
    for wrong in ("", "s3cre", "s3cret ", "S3cret"):
        assert not verified(lab({}, x_gitlab_token=wrong), Secret("s3cret"), NOW)
    assert not verified(lab({}, x_gitlab_token=""), Secret(""), NOW)
    forged = standard(b"another", NOW // 10**9, **{"x-gitlab-token": "s3cret"})
    assert not verified(forged, Secret("s3cret"), NOW)


@given(st.sampled_from(["github", "gitlab"]), st.dictionaries(
    st.sampled_from(["x-hub-signature-256", "x-gitlab-token", "webhook-signature", "webhook-id", "webhook-timestamp"]),
    st.text(max_size=80)), st.binary(max_size=20))  # fmt: skip
def test_nobody_passes_by_chance(source: Source, headers: dict[str, str], body: bytes) -> None:
    assert not verified(Message(source, headers, body), Secret("a secret that is never guessed"), NOW)


def test_a_message_is_itself_whatever_it_is_called() -> None:
    first, again = hub("push", form.HUB_PUSH), hub("push", form.HUB_PUSH, **{"x-github-delivery": "d2"})
    assert first.unique == again.unique
    assert first.delivery != again.delivery
    assert hub("push", form.HUB_TAG).unique != first.unique
    assert lab(form.LAB_PUSH, idempotency_key="k").unique == lab(form.LAB_TAG, idempotency_key="k").unique == "k"
    assert lab(form.LAB_PUSH).unique != lab(form.LAB_TAG).unique
    assert lab(form.LAB_PUSH, x_gitlab_event_uuid="u", webhook_id="w").delivery == "w"
