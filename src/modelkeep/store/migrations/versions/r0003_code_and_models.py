"""Patches of trees that were not committed, deploys that webhooks told of, trainings, what releases served."""

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
    _served()


def _training() -> None:
    said = ("status", "code", "data_version", "config_version", "metrics", "parameters", "by", "source", "run")
    op.create_table(
        "training",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("end_ns", sa.BigInteger),
        sa.Column("dirty", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in said),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("error", "url", "host", "process", "deployer")),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("training_by_model", "training", ["model", "at_ns"])
    op.create_index("training_by_time", "training", ["at_ns"])


def _served() -> None:
    op.create_table(
        "served",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("release", "model", "version")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("predictions", "first_ns", "last_ns")),
    )
    op.create_index("served_by_model", "served", ["model"])
    op.create_table(
        "served_hour",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("release", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("predictions", sa.BigInteger, nullable=False),
    )
    op.create_index("served_hour_by_hour", "served_hour", ["hour"])
