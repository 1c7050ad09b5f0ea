"""Patches of trees that were not committed, deploys that webhooks told of, trainings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WHAT = ("source", "delivery", "kind", "repository", "ref", "code", "before")
_WHO = ("author", "committer", "coauthors", "pusher", "environment", "state", "url", "title")


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "patch",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("first_ns", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "deploy",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in (*_WHAT, *_WHO)),
        sa.Column("authored_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("deploy_by_time", "deploy", ["at_ns"])
    op.create_index("deploy_by_code", "deploy", ["code"])
    op.create_index("deploy_by_delivery", "deploy", ["name", "delivery"], unique=True)
    _training()


def _training() -> None:
    op.create_table(
        "training",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("end_ns", sa.BigInteger),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("status", "code", "data_version", "config_version")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("metrics", "parameters", "by", "source", "run")),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("training_by_model", "training", ["model", "at_ns"])
