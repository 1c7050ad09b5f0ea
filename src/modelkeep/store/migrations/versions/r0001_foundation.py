"""The first tables: tokens, releases, readers, silences, alerts with their history, the outbox, progress of rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables."""
    _who_and_what()
    _alerts()
    _outbox()


def _who_and_what() -> None:
    op.create_table(
        "token",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger),
        sa.Column("last_used_ns", sa.BigInteger),
        sa.Column("revoked_ns", sa.BigInteger),
    )
    op.create_table(
        "release",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("dirty", sa.Boolean, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("data_version", sa.Text, nullable=False),
        sa.Column("config_version", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("process", sa.Text, nullable=False),
        sa.Column("deployer", sa.Text, nullable=False),
        sa.Column("extra", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("release_by_model", "release", ["model", "at"])
    op.create_table(
        "reader",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )


def _alerts() -> None:
    op.create_table(
        "silence",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("matchers", sa.JSON, nullable=False),
        sa.Column("start_ns", sa.BigInteger, nullable=False),
        sa.Column("end_ns", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("clock", sa.Text, nullable=False),
    )
    op.create_index("silence_by_end", "silence", ["end_ns"])
    op.create_table(
        "alert",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("annotations", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since_ns", sa.BigInteger, nullable=False),
        sa.Column("started_ns", sa.BigInteger, nullable=False),
        sa.Column("fired_ns", sa.BigInteger),
        sa.Column("resolved_ns", sa.BigInteger),
        sa.Column("acked_by", sa.Text),
        sa.Column("acked_ns", sa.BigInteger),
        sa.Column("note", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("clock", sa.Text, nullable=False),
    )
    op.create_index("alert_by_state", "alert", ["state"])
    op.create_index("alert_by_rule", "alert", ["rule"])
    op.create_table(
        "transition",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("alert", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("from_state", sa.Text, nullable=False),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("value", sa.Double),
    )
    op.create_index("transition_by_time", "transition", ["at_ns"])
    op.create_index("transition_by_alert", "transition", ["alert"])


def _outbox() -> None:
    op.create_table(
        "notification",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("alert", sa.Text, nullable=False),
        sa.Column("transition", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_ns", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("sent_ns", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_index("notification_due", "notification", ["state", "next_ns"])
    op.create_table(
        "rule_progress",
        sa.Column("group", sa.Text, primary_key=True),
        sa.Column("evaluated_ns", sa.BigInteger, nullable=False),
    )
