"""What the chunk store answers."""

from __future__ import annotations

from dataclasses import dataclass

from modelkeep.core.errors import Error


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing one file cost.

    Args:
        oid: its md5.
        size: its bytes.
        new_bytes: bytes that the cache grew by: packs and the recipe.
        chunks: how many chunks it has.
        new_chunks: how many of them were stored whole.
        spliced: how many were stored as what differs from the previous version.
    """

    oid: str
    size: int
    new_bytes: int = 0
    chunks: int = 0
    new_chunks: int = 0
    spliced: int = 0


@dataclass(frozen=True, slots=True)
class Moved:
    """What a push or fetch did.

    Args:
        objects: packs and recipes that moved.
        bytes: their sizes together.
        skipped: oids for which nothing had to move.
        done: oids that are whole at the other end now.
        failed: (oid, why) of those that are not.
    """

    objects: int = 0
    bytes: int = 0
    skipped: int = 0
    done: tuple[str, ...] = ()
    failed: tuple[tuple[str, Error], ...] = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection moves away.

    Args:
        recipes: oids whose recipe goes.
        packs: names of the packs that go.
        rewritten: names of packs that go after their live part was written anew.
        bytes: how much smaller the store becomes.
    """

    recipes: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class BadPart:
    """A pack or recipe that is not what was written, or that is missing.

    Args:
        kind: `pack` or `recipe`.
        name: the pack's name, or the recipe's oid.
        reason: what is wrong.
        oids: the files that need it.
    """

    kind: str
    name: str
    reason: str
    oids: tuple[str, ...] = ()
