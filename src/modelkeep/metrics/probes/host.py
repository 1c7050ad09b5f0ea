"""What the host has and uses: CPU, memory, disks, network, load."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from modelkeep.metrics.probe import Probe, Reading


class Host:
    """Reads the host's figures.

    Args:
        paths: folders whose disks are read; without any, every writable disk and the one of the working folder.

    >>> names = {labels["__name__"] for labels, _ in Host().read()}
    >>> names >= {"host_cpu_seconds_total", "host_memory_bytes", "host_disk_free_bytes"}
    True
    """

    def __init__(self, paths: Sequence[str] = ()) -> None:
        self._paths = list(paths)

    def read(self) -> list[Reading]:
        """Gives the figures of this moment; what the system does not tell is left out."""
        found: list[Reading] = []
        for part in (_cpu, _memory, self._disks, _network, _load):
            try:
                found += part()
            except (OSError, psutil.Error, NotImplementedError):
                continue
        return found

    def _disks(self) -> Iterator[Reading]:
        for path in self._paths or _writable():
            try:
                use = psutil.disk_usage(path)
            except OSError:  # unmounted meanwhile, or not ours to see
                continue
            if use.total:
                yield {"__name__": "host_disk_total_bytes", "path": path}, float(use.total)
                yield {"__name__": "host_disk_free_bytes", "path": path}, float(use.free)
                yield {"__name__": "host_disk_used_ratio", "path": path}, use.used / max(1, use.used + use.free)


def _cpu() -> Iterator[Reading]:
    times = psutil.cpu_times()
    for mode in times._fields:
        if not mode.startswith("guest"):  # counted under user and nice already
            yield {"__name__": "host_cpu_seconds_total", "mode": mode}, float(getattr(times, mode))
    yield {"__name__": "host_cpu_cores"}, float(psutil.cpu_count() or 1)


def _memory() -> Iterator[Reading]:
    memory = psutil.virtual_memory()
    yield {"__name__": "host_memory_bytes", "kind": "total"}, float(memory.total)
    yield {"__name__": "host_memory_bytes", "kind": "available"}, float(memory.available)


def _network() -> Iterator[Reading]:
    devices = [use for name, use in psutil.net_io_counters(pernic=True).items() if not name.startswith("lo")]
    yield (
        {"__name__": "host_network_bytes_total", "direction": "received"},
        float(sum(one.bytes_recv for one in devices)),
    )
    yield {"__name__": "host_network_bytes_total", "direction": "sent"}, float(sum(one.bytes_sent for one in devices))


def _load() -> Iterator[Reading]:
    yield {"__name__": "host_load1"}, float(os.getloadavg()[0])


def _writable() -> list[str]:
    """One mount point per writable disk, and the one of the working folder."""
    found: dict[str, str] = {}
    for one in psutil.disk_partitions(all=False):
        if "ro" not in one.opts.split(",") and Path(one.mountpoint).is_dir():
            found.setdefault(one.device, one.mountpoint)
    here = Path.cwd()
    while not here.is_mount() and here != here.parent:
        here = here.parent
    return sorted({*found.values(), str(here)})


plugin: type[Probe] = Host
