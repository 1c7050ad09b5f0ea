"""Configuration: merged from anywhere, validated at run time, every value traced.

    import modelkeep as mk

    cfg = mk.config(Settings, "conf/base.yaml", "conf/prod.yaml", env="APP_", cli=True)
    cfg.db.pool

Importing this room loads nothing; each name loads its part on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelkeep.configuration.change import Change as Change
    from modelkeep.configuration.config import Config as Config
    from modelkeep.configuration.snapshot import Snapshot as Snapshot

_PLACES: Final = {
    "Change": "modelkeep.configuration.change:Change",
    "Config": "modelkeep.configuration.config:Config",
    "Snapshot": "modelkeep.configuration.snapshot:Snapshot",
}

__all__ = ["Change", "Config", "Snapshot"]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    found: object = getattr(import_module(module), attribute)
    globals()[name] = found
    return found
