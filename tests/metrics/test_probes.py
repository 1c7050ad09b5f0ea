"""What the probes say is what the system says."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import psutil
import pytest

from modelkeep.metrics.probe import Reading
from modelkeep.metrics.probes.host import Host
from modelkeep.metrics.probes.process import Process


def figures(found: list[Reading]) -> dict[tuple[str, ...], float]:
    return {tuple(labels.values()): value for labels, value in found}


def test_the_disk_is_that_of_the_folder(tmp_path):
    found = figures(Host([str(tmp_path)]).read())
    use = shutil.disk_usage(tmp_path)
    assert found["host_disk_total_bytes", str(tmp_path)] == use.total
    assert found["host_disk_free_bytes", str(tmp_path)] == pytest.approx(use.free, rel=0.05)
    assert 0 <= found["host_disk_used_ratio", str(tmp_path)] <= 1


def test_a_disk_that_is_gone_is_left_out(tmp_path):
    found = Host([str(tmp_path / "gone")]).read()
    assert not any(labels["__name__"].startswith("host_disk") for labels, _ in found)
    assert any(labels["__name__"] == "host_memory_bytes" for labels, _ in found)


def test_without_paths_the_working_folder_is_among_the_disks():
    paths = {labels["path"] for labels, _ in Host().read() if "path" in labels}
    assert Path.cwd().stat().st_dev in {Path(path).stat().st_dev for path in paths}


def test_memory_and_cpu_of_the_host():
    found = figures(Host().read())
    assert found["host_memory_bytes", "total"] == psutil.virtual_memory().total
    assert 0 < found["host_memory_bytes", "available"] <= found["host_memory_bytes", "total"]
    modes = [key[1] for key in found if key[0] == "host_cpu_seconds_total"]
    assert {"user", "system", "idle"} <= set(modes)
    assert not any(mode.startswith("guest") for mode in modes)


def test_the_process_is_this_one():
    before = figures(Process().read())["process_cpu_seconds_total",]
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    found = figures(Process().read())
    assert found["process_cpu_seconds_total",] > before
    assert found["process_start_time_seconds",] == pytest.approx(psutil.Process().create_time(), abs=1)
    if "process_open_fds" in {key[0] for key in found}:
        handle = os.open(os.devnull, os.O_RDONLY)
        assert figures(Process().read())["process_open_fds",] > found["process_open_fds",]
        os.close(handle)
