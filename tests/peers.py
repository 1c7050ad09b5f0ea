"""Real programs that tests run: what the machine has, and what `scripts/dev.py` puts under build/peers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ROOT / "build" / "peers"
PLACES: Final = {
    "dvc": PEERS / "dvc" / "bin" / "dvc",
    "hydra": PEERS / "hydra" / "bin" / "python",
    "mlflow": PEERS / "mlflow" / "bin" / "python",
    "gto": PEERS / "gto" / "bin" / "gto",
    "moto_server": PEERS / "moto" / "bin" / "moto_server",
    "azurite-blob": PEERS / "azurite" / "node_modules" / ".bin" / "azurite-blob",
    "sshd": Path("/usr/sbin/sshd"),
    "postgres": Path("/usr/lib/postgresql/15/bin/postgres"),
    "zookeeper": Path("/usr/share/java/zookeeper.jar"),
}
"""Programs that are not on the path."""


def found(name: str) -> Path | None:
    """Where a program is, if it is anywhere."""
    place = PLACES.get(name)
    if place is not None and place.exists():
        return place
    path = shutil.which(name)
    return Path(path) if path else None


def program(name: str) -> Path:
    """Where a program is; a test that asks carries `@pytest.mark.needs(name)`."""
    path = found(name)
    assert path is not None, f"{name} is not installed: make services"
    return path
