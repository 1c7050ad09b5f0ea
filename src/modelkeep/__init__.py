"""modelkeep: everything a machine-learning model in production needs, except its deployment.

This is the door: importing it loads nothing and starts nothing; each name below loads its part on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from modelkeep._version import __version__ as __version__

if TYPE_CHECKING:
    from modelkeep.configuration.change import Ledger
    from modelkeep.configuration.make import config as config
    from modelkeep.models.load import load as load
    from modelkeep.sdk import logging as logging
    from modelkeep.sdk.asgi import ASGI as ASGI
    from modelkeep.sdk.calls import event as event
    from modelkeep.sdk.calls import feedback as feedback
    from modelkeep.sdk.calls import flush as flush
    from modelkeep.sdk.calls import log_prediction as log_prediction
    from modelkeep.sdk.calls import redact as redact
    from modelkeep.sdk.calls import reference as reference
    from modelkeep.sdk.calls import sample as sample
    from modelkeep.sdk.calls import sampling as sampling
    from modelkeep.sdk.calls import truth as truth
    from modelkeep.sdk.context import at as at
    from modelkeep.sdk.context import log_context as log_context
    from modelkeep.sdk.context import request as request
    from modelkeep.sdk.roles import role as role
    from modelkeep.sdk.train import train as train
    from modelkeep.sdk.watch import watch as watch
    from modelkeep.sdk.wsgi import WSGI as WSGI

_ROOMS: Final = {
    "ASGI": "modelkeep.sdk.asgi",
    "WSGI": "modelkeep.sdk.wsgi",
    "at": "modelkeep.sdk.context",
    "config": "modelkeep.configuration.make",
    "event": "modelkeep.sdk.calls",
    "feedback": "modelkeep.sdk.calls",
    "flush": "modelkeep.sdk.calls",
    "load": "modelkeep.models.load",
    "log_context": "modelkeep.sdk.context",
    "log_prediction": "modelkeep.sdk.calls",
    "logging": "modelkeep.sdk",
    "redact": "modelkeep.sdk.calls",
    "reference": "modelkeep.sdk.calls",
    "request": "modelkeep.sdk.context",
    "role": "modelkeep.sdk.roles",
    "sample": "modelkeep.sdk.calls",
    "sampling": "modelkeep.sdk.calls",
    "train": "modelkeep.sdk.train",
    "truth": "modelkeep.sdk.calls",
    "watch": "modelkeep.sdk.watch",
}
_MODULES: Final = {"logging"}

__all__ = [
    "ASGI",
    "WSGI",
    "__version__",
    "at",
    "config",
    "event",
    "feedback",
    "flush",
    "load",
    "log_context",
    "log_prediction",
    "logging",
    "redact",
    "reference",
    "request",
    "role",
    "sample",
    "sampling",
    "train",
    "truth",
    "watch",
]


def _ledger(name: str) -> Ledger | None:
    """Gives the ledger that tells a server of changes; None without one."""
    import os

    if not os.environ.get("MODELKEEP_URL"):
        return None
    from modelkeep.configuration.history import Memory
    from modelkeep.sdk.configurations import Reported

    return Reported(name, Memory())


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'modelkeep' has no attribute {name!r}")
    if name == "config":
        import_module(room).Ledgers.default = staticmethod(_ledger)
    found = import_module(f"{room}.{name}") if name in _MODULES else getattr(import_module(room), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
