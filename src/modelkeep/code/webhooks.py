"""What GitHub and GitLab tell of pushes, tags, merges and deployments: signatures checked, messages read.

Nothing here knows a socket or a clock: a message's headers and body come in, what it tells comes out.

Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads
Source: https://docs.gitlab.com/user/project/integrations/webhook_events/
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

from modelkeep.core.errors import BadInput
from modelkeep.core.secret import Secret

Source = Literal["github", "gitlab"]
SOURCES: Final = ("github", "gitlab")
LIMIT_BYTES: Final = 5_000_000
"""A larger body is refused before it is read to its end."""

_TOLERANCE_NS: Final = 300 * 1_000_000_000
"""A signed time may be this far from the clock."""
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_TOGETHER: Final = re.compile(r"^co-authored-by:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_SHORT: Final = 500
_LONG: Final = 2_000
_PEOPLE: Final = 20

Given = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Told:
    """What a message tells.

    Args:
        kind: push, tag, merge or deployment.
        repository: its path, such as `team/model`.
        ref: the branch or tag, as `refs/heads/main`.
        code: the commit that is there now; empty when the ref was deleted.
        before: the commit that was there; empty when there was none.
        author: who wrote the commit, `Name <address>`.
        committer: who put it into the history.
        coauthors: who else had a part in it.
        pusher: who pushed, merged or deployed.
        environment: of a deployment.
        state: of a deployment; `created`, `deleted` or `forced` of a branch or tag; else empty.
        url: a page that shows it.
        title: the subject of the commit, or the title of what was merged.
        authored_ns: what the commit says of its own time; 0 when it says nothing.
    """

    kind: Literal["push", "tag", "merge", "deployment"]
    repository: str
    ref: str = ""
    code: str = ""
    before: str = ""
    author: str = ""
    committer: str = ""
    coauthors: tuple[str, ...] = ()
    pusher: str = ""
    environment: str = ""
    state: str = ""
    url: str = ""
    title: str = ""
    authored_ns: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it arrived.

    Args:
        source: who claims to have sent it.
        headers: names in lower case.
        body: to the byte, since that is what was signed.
    """

    source: Source
    headers: Mapping[str, str]
    body: bytes

    @property
    def delivery(self) -> str:
        """The sender's name for this message; the same when it is sent again, empty when there is none."""
        names = ("x-github-delivery",) if self.source == "github" else ("webhook-id", "idempotency-key", _UUID)
        return next((found[:_SHORT] for name in names if (found := self.headers.get(name, ""))), "")

    @property
    def unique(self) -> str:
        """What makes this message itself: what its signature covers, so that no other name makes it another message."""
        if self.source == "github" or not self.delivery:
            return f"sha256:{sha256(self.body).hexdigest()}"
        return self.delivery


_UUID: Final = "x-gitlab-event-uuid"


def verified(message: Message, secret: Secret, now_ns: int) -> bool:
    """Says whether a message comes from somebody who knows a secret; in constant time.

    GitHub signs the body. GitLab signs id, time and body where the webhook has a signing token, and else sends the
    secret itself; a signature that is there but wrong is not made good by the secret.

    Args:
        message: as it arrived.
        secret: an empty one is nobody's.
        now_ns: a signed time must be within five minutes of it.
    """
    if not secret:
        return False
    if message.source == "github":
        return _is_signed_by_github(message, secret.reveal().encode())
    if "webhook-signature" in message.headers:
        return _is_signed_by_standard(message, secret.reveal(), now_ns)
    return _same(message.headers.get("x-gitlab-token", "").encode(), secret.reveal().encode())


def github_signature(secret: str, body: bytes) -> str:
    """Gives the header X-Hub-Signature-256 of a body.

    >>> github_signature("It's a Secret to Everybody", b"Hello, World!")
    'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'
    """
    return f"sha256={hmac.new(secret.encode(), body, sha256).hexdigest()}"


def standard_signature(key: bytes, id_: str, timestamp: str, body: bytes) -> str:
    """Gives the header webhook-signature of a message.

    Args:
        key: the bytes of the secret.
        id_: header webhook-id.
        timestamp: header webhook-timestamp, unix seconds.
        body: to the byte.
    """
    signed = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{b64encode(signed).decode()}"


def read(message: Message) -> Told | None:
    """Gives what a verified message tells; None when it is of no interest here, such as a ping.

    Raises:
        BadInput: the body is no message of its source.
    """
    given = _body(message)
    try:
        if message.source == "github":
            told = _GITHUB.get(message.headers.get("x-github-event", ""), _nothing)(given)
        else:
            told = _GITLAB.get(_text(given, "object_kind"), _nothing)(given)
    except (RecursionError, OverflowError):
        raise BadInput(f"{message.source}: the message cannot be read") from None
    return None if told is None else _clean(told)


# Signatures


def _same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(sha256(one).digest(), sha256(other).digest()) and bool(one)


def _is_signed_by_github(message: Message, key: bytes) -> bool:
    given = message.headers.get("x-hub-signature-256", "")
    wanted = f"sha256={hmac.new(key, message.body, sha256).hexdigest()}"
    return hmac.compare_digest(given.encode(), wanted.encode())


def _is_signed_by_standard(message: Message, secret: str, now_ns: int) -> bool:
    id_, timestamp = message.headers.get("webhook-id", ""), message.headers.get("webhook-timestamp", "")
    if not id_ or not re.fullmatch(r"\d{1,12}", timestamp, re.ASCII):
        return False
    if abs(int(timestamp) * 1_000_000_000 - now_ns) > _TOLERANCE_NS:
        return False
    given = [part.encode() for part in message.headers["webhook-signature"].split(" ")[:10]]
    wanted = [standard_signature(key, id_, timestamp, message.body).encode() for key in _keys(secret)]
    return any(hmac.compare_digest(one, other) for one in given for other in wanted)


def _keys(secret: str) -> list[bytes]:
    """The bytes that a secret may stand for: `whsec_` says base64; without it nobody says."""
    plain = secret.removeprefix("whsec_")
    keys = [] if plain != secret else [secret.encode()]
    try:
        keys.append(b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (binascii.Error, ValueError):
        keys = keys or [plain.encode()]
    return [key for key in keys if key]


# Bodies


def _body(message: Message) -> Given:
    data = message.body
    if message.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            data = parse_qs(data.decode(), max_num_fields=10).get("payload", [""])[0].encode()
        except ValueError:
            raise BadInput(f"{message.source}: not a form with a payload", hint="Choose application/json.") from None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{message.source}: the body is not JSON: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{message.source}: the body is no JSON object")
    return found


def _nothing(given: Given) -> None:
    """A kind of message that tells nothing of what runs."""


def _group(given: Given, name: str) -> Given:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _text(given: Given, *names: str) -> str:
    """The first of some keys that holds a text."""
    return next((found for name in names if isinstance(found := given.get(name), str) and found), "")


def _commit(given: Given, *names: str) -> str:
    """The first of some keys that holds a commit's id; a ref that is not there is told as zeros."""
    found = (_text(given, name) for name in names)
    return next((text for text in found if _COMMIT.match(text) and text.strip("0")), "")


def _person(given: Given) -> str:
    name, mail = _text(given, "name", "login", "username"), _text(given, "email")
    return f"{name} <{mail}>" if mail and mail != "[REDACTED]" else name


def _time(text: str) -> int:
    try:
        found = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        at_ns = int(found.timestamp()) * 1_000_000_000 if found.tzinfo else 0
        return at_ns if abs(at_ns) < 1 << 63 else 0
    except (ValueError, OverflowError, OSError):
        return 0


def _together(message: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_TOGETHER.findall(message)))[:_PEOPLE]


def _with_commit(told: Told, one: Given) -> Told:
    """Adds what a message says of a commit itself."""
    message = _text(one, "message")
    return replace(
        told,
        author=_person(_group(one, "author")),
        committer=_person(_group(one, "committer")),
        coauthors=_together(message),
        title=told.title or _text(one, "title") or message.partition("\n")[0],
        authored_ns=_time(_text(one, "timestamp")),
    )


def _clean(told: Told) -> Told:
    """Cuts what is too long and takes out what no terminal should see."""
    url = told.url if urlsplit(told.url).scheme in {"http", "https"} and len(told.url) <= _LONG else ""
    return replace(
        told,
        repository=_line(told.repository),
        ref=_line(told.ref),
        author=_line(told.author),
        committer=_line(told.committer),
        coauthors=tuple(_line(one) for one in told.coauthors),
        pusher=_line(told.pusher),
        environment=_line(told.environment),
        state=_line(told.state),
        url=_line(url, _LONG),
        title=_line(told.title),
    )


def _line(text: str, most: int = _SHORT) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:most]).strip()


# GitHub


def _hub_push(given: Given) -> Told | None:
    ref = _text(given, "ref")
    deleted = given.get("deleted") is True
    head = _group(given, "head_commit")
    repository = _group(given, "repository")
    told = Told(
        "tag" if ref.startswith("refs/tags/") else "push",
        _text(repository, "full_name"),
        ref=ref,
        code="" if deleted else _commit(head, "id") or _commit(given, "after"),
        before=_commit(given, "before"),
        pusher=_text(_group(given, "sender"), "login") or _person(_group(given, "pusher")),
        state="deleted" if deleted else _state(given),
        url=_text(given, "compare") or _text(repository, "html_url"),
    )
    return told if deleted else _with_commit(told, head)


def _state(given: Given) -> str:
    if given.get("created") is True:
        return "created"
    return "forced" if given.get("forced") is True else ""


def _hub_merge(given: Given) -> Told | None:
    request = _group(given, "pull_request")
    if _text(given, "action") != "closed" or request.get("merged") is not True:
        return None
    base = _group(request, "base")
    return Told(
        "merge",
        _text(_group(given, "repository"), "full_name"),
        ref=f"refs/heads/{_text(base, 'ref')}",
        code=_commit(request, "merge_commit_sha") or _commit(_group(request, "head"), "sha"),
        before=_commit(base, "sha"),
        author=_person(_group(request, "user")),
        pusher=_text(_group(request, "merged_by"), "login") or _text(_group(given, "sender"), "login"),
        url=_text(request, "html_url"),
        title=_text(request, "title"),
        authored_ns=_time(_text(request, "merged_at")),
    )


def _hub_deployment(given: Given) -> Told | None:
    deployment, status = _group(given, "deployment"), _group(given, "deployment_status")
    ref = _text(deployment, "ref")
    return Told(
        "deployment",
        _text(_group(given, "repository"), "full_name"),
        ref="" if _COMMIT.match(ref) else ref,
        code=_commit(deployment, "sha"),
        pusher=_text(_group(deployment, "creator"), "login") or _text(_group(given, "sender"), "login"),
        environment=_text(status, "environment") or _text(deployment, "environment"),
        state=_text(status, "state") or "created",
        url=_text(status, "log_url", "target_url", "environment_url") or _text(_group(given, "repository"), "html_url"),
        title=_text(status, "description") or _text(deployment, "description"),
    )


# GitLab


def _lab_push(given: Given) -> Told | None:
    ref = _text(given, "ref")
    code = _commit(given, "checkout_sha")
    before, project = _commit(given, "before"), _group(given, "project")
    commits = given.get("commits")
    listed = [one for one in commits if isinstance(one, dict)] if isinstance(commits, list) else []
    head = next((one for one in listed if _text(one, "id") == code), {})
    deleted = not code and not _commit(given, "after")
    told = Told(
        "tag" if ref.startswith("refs/tags/") else "push",
        _text(project, "path_with_namespace"),
        ref=ref,
        code="" if deleted else code or _commit(given, "after"),
        before=before,
        pusher=_text(given, "user_username", "user_name"),
        state="deleted" if deleted else "created" if not before else "",
        url=_text(head, "url") or _text(project, "web_url"),
    )
    return _with_commit(told, head) if head else replace(told, title=_text(given, "message").partition("\n")[0])


def _lab_merge(given: Given) -> Told | None:
    request, project = _group(given, "object_attributes"), _group(given, "project")
    if _text(request, "action") != "merge" or _text(request, "state") != "merged":
        return None
    last = _group(request, "last_commit")
    told = Told(
        "merge",
        _text(project, "path_with_namespace"),
        ref=f"refs/heads/{_text(request, 'target_branch')}",
        code=_commit(request, "merge_commit_sha", "squash_commit_sha") or _commit(last, "id"),
        before=_commit(request, "oldrev"),
        pusher=_text(_group(given, "user"), "username", "name"),
        url=_text(request, "url"),
        title=_text(request, "title"),
    )
    return _with_commit(told, last)


def _lab_deployment(given: Given) -> Told | None:
    project = _group(given, "project")
    page = _text(given, "commit_url")
    ref = _text(given, "ref")
    return Told(
        "deployment",
        _text(project, "path_with_namespace"),
        ref=ref,
        code=_commit({"sha": page.rstrip("/").rpartition("/")[2]}, "sha"),
        pusher=_text(_group(given, "user"), "username", "name"),
        environment=_text(given, "environment"),
        state=_text(given, "status"),
        url=_text(given, "deployable_url") or page or _text(project, "web_url"),
        title=_text(given, "commit_title"),
        authored_ns=0,
    )


_GITHUB: Final = {
    "push": _hub_push,
    "pull_request": _hub_merge,
    "deployment": _hub_deployment,
    "deployment_status": _hub_deployment,
}
_GITLAB: Final = {
    "push": _lab_push,
    "tag_push": _lab_push,
    "merge_request": _lab_merge,
    "deployment": _lab_deployment,
}
