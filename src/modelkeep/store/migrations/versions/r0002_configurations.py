"""Configurations of processes with their history, and a key-value store with every write."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXTS = ("state", "hash", "previous", "name", "source", "author", "reason", "error", "differences", "marks")
_WHO = ("service", "host", "process", "deployer")


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "configuration",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("first_ns", sa.BigInteger, nullable=False),
        sa.Column("tree", sa.Text, nullable=False),
    )
    op.create_table(
        "configuration_marks",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("marks", sa.Text, nullable=False),
    )
    op.create_table(
        "configuration_change",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in (*_TEXTS, *_WHO)),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("configuration_change_by_time", "configuration_change", ["at"])
    op.create_index("configuration_change_by_process", "configuration_change", ["process", "name", "at"])
    op.create_index("configuration_change_by_hash", "configuration_change", ["hash"])
    _pairs()


def _pairs() -> None:
    op.create_table(
        "pair",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
    )
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "pair_write",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("pair_write_by_key", "pair_write", ["key", "seq"])
