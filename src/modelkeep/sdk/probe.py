"""What this process uses of its machine."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import resource

_PROC: Final = Path("/proc/self")


def read() -> list[tuple[str, float]]:
    """Gives (metric, value): seconds of CPU, bytes of memory, threads and, where the system tells, open files.

    >>> sorted(name for name, _ in read())[0]
    'process_cpu_seconds_total'
    """
    used = os.times()
    found = [
        ("process_cpu_seconds_total", used.user + used.system),
        ("process_threads", float(_threads())),
    ]
    memory = _resident_bytes()
    if memory:
        found.append(("process_resident_memory_bytes", memory))
    files = _open_files()
    if files:
        found.append(("process_open_fds", files))
    return found


def _resident_bytes() -> float:
    try:
        pages = int((_PROC / "statm").read_text(encoding="ascii").split()[1])
        return float(pages * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        return _peak_bytes()


def _peak_bytes() -> float:
    if sys.platform == "win32":
        return 0.0
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def _threads() -> int:
    try:
        return len(os.listdir(_PROC / "task"))  # noqa: PTH208
    except OSError:
        return threading.active_count()


def _open_files() -> float:
    for folder in (_PROC / "fd", Path("/dev/fd")):
        try:
            return float(len(os.listdir(folder)) - 1)  # noqa: PTH208
        except OSError:
            continue
    return 0.0
