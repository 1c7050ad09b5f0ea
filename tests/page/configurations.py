"""Configurations of the small house: what its processes read, when it changed, who changed it, and what was refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from modelkeep.core.encoding import Configurations

HOUR = 3600 * 1_000_000_000
Tree = dict[str, Any]

BASE: Tree = {
    "model": {"name": "churn", "path": "models/churn.pkl", "threshold": 0.5, "warm_up": True},
    "features": {
        "store": "redis://features.example.org:6379/0",
        "timeout_ms": 250,
        "columns": ["tenure", "monthly_fee", "calls", "discount", "plan", "region"],
        "defaults": {"discount": 0.0, "plan": "basic"},
    },
    "database": {"url": "postgresql://churn:***@db.example.org/churn", "password": "***", "pool": 8},
    "serving": {"host": "0.0.0.0", "port": 8080, "workers": 4, "batch": {"size": 32, "wait_ms": 5}},
    "logging": {"level": "INFO", "json": True},
}
LESS_ALARMS: Tree = {**BASE, "model": {**BASE["model"], "threshold": 0.45}}
NEW_MODEL: Tree = {
    **LESS_ALARMS,
    "model": {**LESS_ALARMS["model"], "path": "models/churn-2.pkl"},
    "features": {**BASE["features"], "timeout_ms": 400},
    "serving": {**BASE["serving"], "workers": 8},
}
PRICE_TREE: Tree = {"model": {"name": "price", "currency": "EUR"}, "api_token": "***", "logging": {"level": "DEBUG"}}

_PLACES = {
    "model": "conf/base.yaml:2",
    "features": "conf/base.yaml:8",
    "database": "conf/production.yaml:3",
    "serving": "conf/base.yaml:21",
    "logging": "conf/production.yaml:9",
}


def named(tree: Tree) -> str:
    """Gives the hash that stands for a configuration."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _leaves(tree: Tree, before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{before}.{key}" if before else key
        found |= _leaves(value, path) if isinstance(value, dict) else {path: value}
    return found


def _marks(tree: Tree) -> dict[str, str]:
    found = {}
    for place, key in enumerate(_leaves(tree)):
        file, _, line = _PLACES.get(key.split(".")[0], "conf/price.yaml:1").partition(":")
        found[key] = f"{file}:{int(line) + place % 7}"
    if "serving" in tree:
        found |= {"serving.port": "env PORT", "database.password": "secret:DATABASE_PASSWORD"}
        if tree["features"]["timeout_ms"] == 400:
            found["features.timeout_ms"] = "consul http://consul.example.org/churn/features/timeout_ms"
    return found


def told(now: int) -> list[Configurations]:
    """Gives all changes of two days: of the process of either version of churn, and of the other model's."""
    first, second, price = (
        _empty("churn-api", "api-1", "api-1:77:x"),
        _empty("churn-api", "api-1", "api-1:78:x"),
        _empty("price-api", "api-2", "api-2:9:x"),
    )
    base = "conf/base.yaml"
    _change(first, now - 48 * HOUR, None, BASE, (base, "Ann", "first start"))
    _change(first, now - 30 * HOUR, BASE, LESS_ALARMS, (base, "Ann", "fewer missed customers"))
    _refuse(first, now - 26 * HOUR, LESS_ALARMS)
    _change(second, now - 20 * HOUR, None, LESS_ALARMS, (base, "Cy", "2026.2"))
    where = "consul http://consul.example.org/churn"
    _change(second, now - 14 * HOUR, LESS_ALARMS, NEW_MODEL, (where, "Cy", "slow feature store"))
    _change(price, now - 48 * HOUR, None, PRICE_TREE, ("conf/price.yaml", "Ann", ""))
    return [first, second, price]


def _empty(service: str, host: str, process: str) -> Configurations:
    lists: list[list[Any]] = [[] for _ in range(13)]
    return Configurations(service, host, process, *lists)


def _change(made: Configurations, at: int, before: Tree | None, after: Tree, why: tuple[str, str, str]) -> None:
    old, new = _leaves(before or {}), _leaves(after)
    marks = _marks(after)
    differences = [
        {"key": key, "before": old.get(key), "after": new.get(key), "mark": marks.get(key, "")}
        for key in dict.fromkeys([*old, *new])
        if before is not None and old.get(key) != new.get(key)
    ]
    _row(made, at, "applied", named(after), named(before) if before else "", why)
    made.differences.append(json.dumps(differences))
    made.tree.append(json.dumps(after))
    made.marks.append(json.dumps(marks))


def _refuse(made: Configurations, at: int, held: Tree) -> None:
    _row(made, at, "rejected", named(held), named(held), ("conf/base.yaml", "Ben", "percent?"))
    made.error[-1] = "conf/base.yaml:4 model.threshold: input should be less than 1, value 45"
    wrong = [{"key": "model.threshold", "before": 0.45, "after": 45, "mark": "conf/base.yaml:4"}]
    made.differences.append(json.dumps(wrong))
    made.tree.append("{}")
    made.marks.append("{}")


def _row(made: Configurations, at: int, state: str, now: str, before: str, why: tuple[str, str, str]) -> None:
    made.ids.append(f"{made.process}-{len(made.ids)}")
    made.at.append(at)
    columns = (made.state, made.hash, made.previous, made.name, made.source, made.author, made.reason, made.error)
    name = made.service.partition("-")[0]
    for column, value in zip(columns, (state, now, before, name, *why, ""), strict=True):
        column.append(value)
