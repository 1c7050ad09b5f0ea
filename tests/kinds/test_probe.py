"""The contract of every probe."""

from __future__ import annotations

import math
import re

import psutil
import pytest

from modelkeep.core.kinds import Kind
from modelkeep.metrics.probe import Probe

PROBES = Kind[Probe]("modelkeep.metrics.probes")
NAME = re.compile(r"[a-z]+(_[a-z0-9]+)+\Z")
UNITS = ("_bytes", "_seconds", "_ratio", "_total", "_fds", "_threads", "_cores", "_celsius", "_watts", "_load1")


@pytest.mark.parametrize("name", PROBES.names())
def test_names_units_and_values(name: str) -> None:
    found = PROBES.load(name)().read()
    assert found
    for labels, value in found:
        metric = labels["__name__"]
        assert NAME.match(metric), metric
        assert metric.endswith(UNITS), metric
        assert math.isfinite(value), (labels, value)
        assert all(isinstance(text, str) and text for pair in labels.items() for text in pair)
    assert len({tuple(sorted(labels.items())) for labels, _ in found}) == len(found)


@pytest.mark.parametrize("name", PROBES.names())
def test_what_only_grows_only_grows(name: str) -> None:
    probe = PROBES.load(name)()
    before = {tuple(sorted(labels.items())): value for labels, value in probe.read()}
    for labels, value in probe.read():
        if labels["__name__"].endswith("_total") and labels.get("mode") != "iowait":
            assert value >= before.get(tuple(sorted(labels.items())), 0.0), labels


@pytest.mark.parametrize("name", PROBES.names())
@pytest.mark.parametrize("error", [psutil.AccessDenied(), OSError("no such device")])
def test_a_machine_that_says_nothing_is_no_exception(name: str, error: Exception, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    for asked in ("cpu_times", "virtual_memory", "disk_partitions", "disk_usage", "net_io_counters"):
        monkeypatch.setattr(psutil, asked, refuse)
    for asked in ("cpu_times", "memory_info", "num_fds", "num_threads", "create_time"):
        monkeypatch.setattr(psutil.Process, asked, refuse, raising=False)
    PROBES.load(name)().read()
