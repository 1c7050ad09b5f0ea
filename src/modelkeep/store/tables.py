"""The tables of what is decided: releases, tokens, alerts, configurations and their history.

Times are `int` ns since 1970, UTC.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

REVISION: Final = "0003"
"""The newest migration in `store/migrations/versions`; a store at an unknown one was written by a newer modelkeep."""

metadata: Final = sa.MetaData()

_Number: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

token: Final = sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("expires_ns", sa.BigInteger),
    sa.Column("last_used_ns", sa.BigInteger),
    sa.Column("revoked_ns", sa.BigInteger),
)

release: Final = sa.Table(
    "release",
    metadata,
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
    sa.Index("release_by_model", "model", "at"),
)
"""Columns as in `core.layouts.RELEASE`; `seq` is the journal entry that brought the row as it stands."""

reader: Final = sa.Table(
    "reader",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
"""How far the journal's readers that live in this database have sealed."""

silence: Final = sa.Table(
    "silence",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("matchers", sa.JSON, nullable=False),
    sa.Column("start_ns", sa.BigInteger, nullable=False),
    sa.Column("end_ns", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("clock", sa.Text, nullable=False),
    sa.Index("silence_by_end", "end_ns"),
)

alert: Final = sa.Table(
    "alert",
    metadata,
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
    sa.Index("alert_by_state", "state"),
    sa.Index("alert_by_rule", "rule"),
)
"""`value` is null where it is not a number: SQLite keeps no NaN."""

transition: Final = sa.Table(
    "transition",
    metadata,
    sa.Column("seq", _Number, primary_key=True, autoincrement=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("alert", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("value", sa.Double),
    sa.Index("transition_by_time", "at_ns"),
    sa.Index("transition_by_alert", "alert"),
)

notification: Final = sa.Table(
    "notification",
    metadata,
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
    sa.Index("notification_due", "state", "next_ns"),
)
"""The outbox: `state` is waiting, sent or dead; `transition` is the seq of the change it tells."""

rule_progress: Final = sa.Table(
    "rule_progress",
    metadata,
    sa.Column("group", sa.Text, primary_key=True),
    sa.Column("evaluated_ns", sa.BigInteger, nullable=False),
)

configuration: Final = sa.Table(
    "configuration",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("first_ns", sa.BigInteger, nullable=False),
    sa.Column("tree", sa.Text, nullable=False),
)
"""Each applied configuration once, by its content hash; `tree` is a JSON object, secrets are masked."""

configuration_marks: Final = sa.Table(
    "configuration_marks",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("marks", sa.Text, nullable=False),
)
"""Where the keys were written: a JSON object, kept once however many processes tell the same."""

configuration_change: Final = sa.Table(
    "configuration_change",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("differences", sa.Text, nullable=False),
    sa.Column("marks", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
    sa.Column("deployer", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Index("configuration_change_by_time", "at"),
    sa.Index("configuration_change_by_process", "process", "name", "at"),
    sa.Index("configuration_change_by_hash", "hash"),
)
"""Columns as in `core.layouts.CONFIGURATION`; `marks` is the digest of a row of `configuration_marks`."""

pair: Final = sa.Table(
    "pair",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("flags", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),
)
"""The key-value store as it stands; `created` and `modified` are writes. `flags` are 64 bits without sign, as text."""

pair_write: Final = sa.Table(
    "pair_write",
    metadata,
    sa.Column("seq", _Number, primary_key=True, autoincrement=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("value", sa.LargeBinary),
    sa.Column("flags", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("pair_write_by_key", "key", "seq"),
    sqlite_autoincrement=True,
)
"""Every write of the key-value store; a value of null is a removal. `seq` is Consul's index."""

patch: Final = sa.Table(
    "patch",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("first_ns", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.LargeBinary, nullable=False),
)
"""What a working tree had beyond its commit, once by the BLAKE2b digest of the patch; `bytes` are zlib, `size` is that
of the patch itself."""

deploy: Final = sa.Table(
    "deploy",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("source", "delivery", "kind", "repository", "ref", "code")),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("before", "author", "committer", "coauthors", "pusher")),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("environment", "state", "url", "title")),
    sa.Column("authored_ns", sa.BigInteger, nullable=False),
    sa.Index("deploy_by_time", "at_ns"),
    sa.Index("deploy_by_code", "code"),
    sa.Index("deploy_by_delivery", "name", "delivery", unique=True),
)
"""What webhooks told: `at_ns` is when the server received it, `name` that of the webhook in the settings, `kind` is
push, tag, merge or deployment, `code` the commit; `authored_ns` is what the commit says of itself, 0 when nothing."""

training: Final = sa.Table(
    "training",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("end_ns", sa.BigInteger),
    sa.Column("dirty", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("status", "code", "data_version", "config_version")),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("metrics", "parameters", "by", "source", "run")),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("error", "url", "host", "process", "deployer")),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Index("training_by_model", "model", "at_ns"),
    sa.Index("training_by_time", "at_ns"),
)
"""`at_ns` is the start, `end_ns` null while it runs; `metrics` and `parameters` are JSON objects as text."""

served: Final = sa.Table(
    "served",
    metadata,
    sa.Column("release", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("predictions", sa.BigInteger, nullable=False),
    sa.Column("first_ns", sa.BigInteger, nullable=False),
    sa.Column("last_ns", sa.BigInteger, nullable=False),
    sa.Index("served_by_model", "model"),
)
"""Which predictions a release made: how many, the time of the first and that of the last."""

served_hour: Final = sa.Table(
    "served_hour",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("hour", sa.BigInteger, primary_key=True),
    sa.Column("release", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("predictions", sa.BigInteger, nullable=False),
    sa.Index("served_hour_by_hour", "hour"),
)
"""How many predictions a release made in an hour, counted in hours since 1970."""
