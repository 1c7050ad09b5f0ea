"""What webhooks told of the code: pushes, tags, merges, deployments, in the order in which they were received."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from modelkeep.store.entries import Entries
from modelkeep.store.tables import deploy as table

_MOST: Final = 100_000
"""Deploys that are kept."""
_SPARE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Deploy:
    """One thing that happened to the code.

    Args:
        id: of this record.
        at_ns: when the server received it; nothing else orders deploys, whatever the clocks of others said.
        name: of the webhook in the settings.
        source: github or gitlab.
        delivery: the sender's name for this message.
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
        state: of a deployment, such as `success`; `created`, `deleted` or `forced` of a branch or tag; else empty.
        url: a page that shows it.
        title: the subject of the commit, or the title of what was merged.
        authored_ns: what the commit says of its own time; 0 when it says nothing.
    """

    id: str
    at_ns: int
    name: str
    source: str
    delivery: str
    kind: str
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


_COLUMNS: Final = tuple(Deploy.__dataclass_fields__)


def identity(name: str, unique: str) -> str:
    """Gives the id of a deploy: the same for the same message of the same webhook.

    >>> identity("github", "72d3162e") == identity("github", "72d3162e") != identity("gitlab", "72d3162e")
    True
    """
    return blake2b(f"{name}\0{unique}".encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


class Deploys:
    """The table of deploys; a row never changes.

    Args:
        entries: where they are kept.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def add(self, one: Deploy) -> bool:
        """Keeps a deploy, durable on return; says whether it is new.

        A record of the same id, or of the same delivery to the same webhook, was kept before: nothing changes.
        """
        row: dict[str, object] = {name: getattr(one, name) for name in _COLUMNS}
        row["coauthors"] = json.dumps(list(one.coauthors), ensure_ascii=False)
        with self._entries.begin() as connection:
            done = connection.execute(insert(table).values(**row).on_conflict_do_nothing())
            return done.rowcount > 0

    def list(
        self,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        repository: str = "",
        code: str = "",
        kind: str = "",
        limit: int = 1_000,
    ) -> list[Deploy]:
        """Gives deploys, the last received first.

        Args:
            start_ns: received at or after.
            end_ns: received before.
            repository: its path; empty for all.
            code: the commit, or the beginning of its id; empty for all.
            kind: empty for all.
            limit: at most so many.
        """
        query = sa.select(*(table.c[name] for name in _COLUMNS)).order_by(table.c.at_ns.desc(), table.c.id).limit(limit)
        if start_ns is not None:
            query = query.where(table.c.at_ns >= start_ns)
        if end_ns is not None:
            query = query.where(table.c.at_ns < end_ns)
        for name, wanted in (("repository", repository), ("kind", kind)):
            if wanted:
                query = query.where(table.c[name] == wanted)
        if code:
            query = query.where(table.c.code.startswith(code, autoescape=True))
        with self._entries.connect() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        return [Deploy(**{**row, "coauthors": tuple(json.loads(row["coauthors"]))}) for row in rows]

    def expire(self, most: int = _MOST) -> int:
        """Forgets the oldest beyond so many; gives how many were forgotten."""
        with self._entries.begin() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() or 0
            if count <= most + _SPARE:
                return 0
            oldest = sa.select(table.c.id).order_by(table.c.at_ns, table.c.id).limit(count - most)
            return connection.execute(sa.delete(table).where(table.c.id.in_(oldest))).rowcount
