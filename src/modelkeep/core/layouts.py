"""The columns of every kind of record, as data: `wire` builds them, `store` keeps them, nobody else invents any.

A layout is a tuple of (column, Arrow type name). Times are `int64` ns UTC in columns named `at`.
Besides its fixed columns a prediction or reference batch has one column `features.<name>` per feature
(double, bool, int64 or string, whatever was sent), one column `prediction` (double, bool or string) and,
for several classes, one column `scores.<class>` (double) per class.
"""

from __future__ import annotations

from typing import Final

Layout = tuple[tuple[str, str], ...]

FEATURE: Final = "features."
SCORES: Final = "scores."

PREDICTION: Final[Layout] = (
    ("id", "string"),
    ("at", "int64"),
    ("score", "double"),
    ("latency_ns", "int64"),
    ("error", "string"),
)
"""Metadata: model, version, release. `score`: probability of the positive class, null when there is none.
`error`: the exception's type name when the call failed; then the prediction is null."""

REFERENCE: Final[Layout] = (("label", "double"), ("label_text", "string"), ("score", "double"))
"""Metadata: model, version, release. Rows of the data that the model was accepted on; a numeric or bool label
is in `label`, a class name in `label_text`."""

FACT: Final[Layout] = (
    ("id", "string"),
    ("model", "string"),
    ("kind", "string"),
    ("value", "double"),
    ("text", "string"),
    ("source", "string"),
    ("at", "int64"),
)
"""A fact about a prediction. `kind` is label, feedback or engagement; `model` is null when the sender did not say;
numbers and bools are in `value`, everything else in `text`; the latest per (model, id, kind, source) counts."""

EVENT: Final[Layout] = (
    ("at", "int64"),
    ("name", "string"),
    ("user", "string"),
    ("prediction_id", "string"),
    ("value", "double"),
    ("properties", "string"),
)
"""`properties` is a JSON object as text."""

LOG: Final[Layout] = (
    ("at", "int64"),
    ("severity", "int64"),
    ("level", "string"),
    ("service", "string"),
    ("host", "string"),
    ("logger", "string"),
    ("message", "string"),
    ("trace_id", "string"),
    ("prediction_id", "string"),
    ("attributes", "string"),
)
"""The OpenTelemetry log model: `severity` 1-24 (9 INFO, 13 WARN, 17 ERROR), `attributes` a JSON object as text."""

SAMPLE: Final[Layout] = (("series", "string"), ("at", "int64"), ("value", "double"))
"""`series` is the canonical JSON of `core.series.canonical`; batches dictionary-encode it."""

RELEASE: Final[Layout] = (
    ("id", "string"),
    ("at", "int64"),
    ("model", "string"),
    ("version", "string"),
    ("code", "string"),
    ("dirty", "bool"),
    ("author", "string"),
    ("data_version", "string"),
    ("config_version", "string"),
    ("host", "string"),
    ("process", "string"),
    ("deployer", "string"),
    ("extra", "string"),
)
"""What runs: sent once per process, model and version. `code` is the commit; `deployer` the name of the token used."""

CONFIGURATION: Final[Layout] = (
    ("id", "string"),
    ("at", "int64"),
    ("state", "string"),
    ("hash", "string"),
    ("previous", "string"),
    ("name", "string"),
    ("source", "string"),
    ("author", "string"),
    ("reason", "string"),
    ("error", "string"),
    ("differences", "string"),
    ("tree", "string"),
    ("marks", "string"),
    ("service", "string"),
    ("host", "string"),
    ("process", "string"),
    ("deployer", "string"),
)
"""What became of a configuration in one process. `state` is applied, rejected, rolled back, unreachable or recovered;
`hash` is that of what holds now. `differences` is a JSON array of `{key, before, after, mark}`, `tree` and `marks` are
JSON objects, empty where nothing was applied; secrets are masked before they leave the process."""

TRAINING: Final[Layout] = (
    ("id", "string"),
    ("at", "int64"),
    ("end", "int64"),
    ("model", "string"),
    ("version", "string"),
    ("status", "string"),
    ("code", "string"),
    ("dirty", "bool"),
    ("data_version", "string"),
    ("config_version", "string"),
    ("metrics", "string"),
    ("parameters", "string"),
    ("by", "string"),
    ("source", "string"),
    ("run", "string"),
    ("error", "string"),
    ("url", "string"),
    ("host", "string"),
    ("process", "string"),
    ("deployer", "string"),
)
"""One training of a model, told when it begins and again when it ends: `at` is its start, `end` 0 while it runs.
`status` is running, finished or failed; `metrics` is a JSON object of numbers, `parameters` a JSON object; `source` is
train, mlflow, dvc or git, `run` what it is called there; `version` is empty until one is known."""

KINDS: Final[dict[str, Layout]] = {
    "prediction": PREDICTION,
    "reference": REFERENCE,
    "fact": FACT,
    "event": EVENT,
    "log": LOG,
    "sample": SAMPLE,
    "release": RELEASE,
    "configuration": CONFIGURATION,
    "training": TRAINING,
}
