"""What this process uses: CPU, memory, open files, threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psutil

from modelkeep.metrics.probe import Probe, Reading


class Process:
    """Reads this process's figures.

    >>> {labels["__name__"] for labels, _ in Process().read()} >= {"process_cpu_seconds_total", "process_threads"}
    True
    """

    def read(self) -> list[Reading]:
        """Gives the figures of this moment; what the system does not tell is left out."""
        process = psutil.Process()
        found: list[Reading] = []
        for name, ask in _FIGURES.items():
            try:
                found.append(({"__name__": name}, float(ask(process))))
            except (AttributeError, OSError, psutil.Error):  # this system does not tell
                continue
        return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


_FIGURES: Final[dict[str, Callable[[psutil.Process], float]]] = {
    "process_cpu_seconds_total": _cpu,
    "process_resident_memory_bytes": lambda process: process.memory_info().rss,
    "process_open_fds": lambda process: process.num_fds(),
    "process_threads": lambda process: process.num_threads(),
    "process_start_time_seconds": lambda process: process.create_time(),
}

plugin: type[Probe] = Process
