"""The bodies and answers of the typed API; FastAPI writes its OpenAPI document from these."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=10_000)]
Time = Annotated[str, Field(max_length=64, description="ISO 8601, unix seconds, now or now-1h.")]


class Given(BaseModel):
    """A body: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class ErrorWords(Told):
    """What is wrong and what to do next."""

    name: str
    message: str
    hint: str


class ErrorTold(Told):
    """The answer of every request that fails."""

    error: ErrorWords


class VersionTold(Told):
    """What arrived of one version."""

    version: str
    predictions: int
    first_at: str
    last_at: str


class ModelTold(Told):
    """A model and its versions."""

    model: str
    versions: list[VersionTold]


class ModelsTold(Told):
    """All models."""

    models: list[ModelTold]


class FigureTold(Told):
    """A number and the interval that holds the true one 95 times in 100."""

    value: float | None
    low: float | None
    high: float | None


class QualityRowTold(Told):
    """How good one version was in one period."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    version: str
    predictions: int
    labels: int
    coverage: float | None
    metrics: dict[str, FigureTold]


class QualityTold(Told):
    """How good a model was."""

    model: str
    task: str
    as_of: str | None
    rows: list[QualityRowTold]


class VerdictTold(Told):
    """One measure beside its threshold."""

    value: float | None
    threshold: float | None
    p_value: float | None = None
    drifted: bool


class DriftRowTold(Told):
    """How far one feature was from its reference in one period."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    version: str
    feature: str
    predictions: int
    missing_ratio: float | None
    unseen_ratio: float | None
    measures: dict[str, VerdictTold]
    drifted: bool


class DriftTold(Told):
    """How far a model's inputs and outputs were from their reference."""

    model: str
    rows: list[DriftRowTold]


class FactTold(Told):
    """A fact about a prediction."""

    kind: str
    value: JsonValue
    source: str
    at: str


class PredictionTold(Told):
    """One prediction with what is known about it."""

    id: str
    at: str
    model: str
    version: str
    release: str
    features: dict[str, JsonValue]
    prediction: JsonValue
    score: JsonValue
    latency_s: float | None
    error: str | None
    facts: list[FactTold]


class PredictionsTold(Told):
    """Predictions, newest first."""

    predictions: list[PredictionTold]


class SqlGiven(Given):
    """A query over the tables prediction, fact, event and log."""

    sql: Annotated[str, Field(min_length=1, max_length=100_000)]
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1_000


class ColumnTold(Told):
    """A column of an answer."""

    name: str
    type: str


class SqlTold(Told):
    """Columns and rows; `truncated` when there are more rows."""

    columns: list[ColumnTold]
    rows: list[list[JsonValue]]
    truncated: bool


class LogsTold(Told):
    """Log records, newest first; `next` is the cursor for older ones."""

    logs: list[dict[str, JsonValue]]
    count: int
    next: str | None


class ReleaseTold(Told):
    """What ran."""

    id: str
    at: str
    model: str
    version: str
    code: str
    dirty: bool
    author: str
    data_version: str
    config_version: str
    host: str
    process: str
    deployer: str
    extra: JsonValue


class ReleasesTold(Told):
    """Releases, newest first."""

    releases: list[ReleaseTold]


class AlertTold(Told):
    """An alert as it stands."""

    id: str
    rule: str
    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    since: str
    value: float | None
    silenced: bool


class AlertsTold(Told):
    """Alerts."""

    alerts: list[AlertTold]


class TransitionTold(Told):
    """One change of one alert's state."""

    at: str
    alert: str
    rule: str
    labels: dict[str, str]
    from_: Annotated[str, Field(alias="from")]
    to: str
    value: float | None


class TransitionsTold(Told):
    """Changes of states, oldest first."""

    transitions: list[TransitionTold]


class AckGiven(Given):
    """Who acknowledges, and what they say."""

    by: Name
    note: Text = ""


class ReplayGiven(Given):
    """A stretch of history, and rules other than those in force."""

    from_: Annotated[Time, Field(alias="from")]
    to: Time
    rules: Annotated[str | None, Field(max_length=1_000_000)] = None


class TestGiven(Given):
    """Which channel."""

    channel: Annotated[str, Field(max_length=200)] = ""


class TestTold(Told):
    """Which channel took it, and how fast."""

    channel: str
    latency_s: float


class RuleTold(Told):
    """A rule and how it stands."""

    name: str
    expr: str
    for_s: float
    labels: dict[str, str]
    annotations: dict[str, str]
    state: str


class GroupTold(Told):
    """Rules that are evaluated together."""

    name: str
    interval_s: float
    clock: str
    rules: list[RuleTold]


class GroupsTold(Told):
    """All groups of rules."""

    groups: list[GroupTold]


class SilenceTold(Told):
    """A silence."""

    id: str
    matchers: dict[str, str]
    from_: Annotated[str, Field(alias="from")]
    to: str
    by: str
    reason: str


class SilencesTold(Told):
    """All silences that are kept."""

    silences: list[SilenceTold]


class SilenceGiven(Given):
    """What to silence, until when, by whom and why."""

    matchers: Annotated[dict[str, Annotated[str, Field(max_length=2_048)]], Field(min_length=1, max_length=64)]
    duration: Annotated[str | None, Field(max_length=64, description="Such as 2h; or `to`.")] = None
    to: Time | None = None
    by: Name
    reason: Annotated[str, Field(min_length=1, max_length=10_000)]


class MadeTold(Told):
    """The id of what was made."""

    id: str


class NotificationTold(Told):
    """A message of the outbox."""

    id: str
    alert: str
    channel: str
    state: str
    title: str
    attempts: int
    created: str
    sent: str | None
    next: str | None
    error: str


class OutboxTold(Told):
    """Messages, newest first."""

    notifications: list[NotificationTold]


class StepTold(Told):
    """One step of the drill."""

    name: str
    ok: bool
    seconds: float
    detail: str


class DrillTold(Told):
    """The drill, step by step."""

    steps: list[StepTold]


class TokenTold(Told):
    """A token, without its secret."""

    id: str
    name: str
    scopes: list[str]
    created: str
    expires: str | None
    last_used: str | None


class TokensTold(Told):
    """All tokens."""

    tokens: list[TokenTold]


class TokenGiven(Given):
    """Whose token, what it allows, and when it ends."""

    name: Name
    scopes: Annotated[list[Literal["ingest", "read", "write", "admin"]], Field(min_length=1, max_length=4)]
    expires: Time | None = None


class TokenMadeTold(Told):
    """A new token; `token` is shown this once."""

    id: str
    token: str


class StatusTold(BaseModel):
    """How the server is: clock, journal, readers, what was dropped or refused, disk."""

    version: str
    clock: dict[str, JsonValue]
    journal: dict[str, JsonValue]
    readers: list[dict[str, JsonValue]]
    ingest: dict[str, JsonValue]
    rooms: dict[str, JsonValue]
    disk: dict[str, JsonValue]
