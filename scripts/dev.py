#!/usr/bin/env python3
"""The commands of a checkout: `demo` runs modelkeep on real flights, `test` proves the build, `page` builds the page.

Needs Python 3.11 or newer and git; makes `.venv` beside itself and installs there with constraints.txt.
Anything after the command goes to it: `python3 scripts/dev.py demo --exit`, `python3 scripts/dev.py test tests/core`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PEERS = ROOT / "build" / "peers"
SERVICES = {
    "prometheus": "prometheus",
    "openssh-server": "/usr/sbin/sshd",
    "nodejs": "node",
    "npm": "npm",
    "zookeeper": "/usr/share/java/zookeeper.jar",
    "etcd-server": "etcd",
    "postgresql": "/usr/lib/postgresql/15/bin/postgres",
    "redis-server": "redis-server",
    "chromium": "chromium",
}
"""Debian package → the command or file that shows it is there; tests start private instances of these."""
PYTHON_PEERS = ("dvc", "gto", "hydra", "mlflow", "moto")
"""Programs that tests run beside us, each in an environment of its own, pinned in bench/peers/NAME.txt."""
AZURITE = "azurite@3.37.0"


def main(arguments: list[str]) -> int:
    command, *rest = arguments or [""]
    if sys.version_info < (3, 11):
        return refuse(f"modelkeep needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    if command == "demo":
        install("demo")
        page()
        return run([BIN / "modelkeep", "demo", *rest])
    if command == "test":
        install("test")
        services()
        peers()
        return page() or test(rest)
    if command == "page":
        return page()
    if command == "services":
        services()
        peers()
        return 0
    print(__doc__)
    return 0 if command in {"", "-h", "--help"} else 2


def refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


def run(command: list[str | Path], **environment: str) -> int:
    try:
        return subprocess.call([str(word) for word in command], cwd=ROOT, env={**os.environ, **environment})
    except KeyboardInterrupt:
        return 130


def install(extra: str) -> None:
    """Makes `.venv` hold this checkout with the extra; does nothing when it already does."""
    wanted = hashlib.sha256(
        (ROOT / "pyproject.toml").read_bytes() + (ROOT / "constraints.txt").read_bytes() + str(ROOT).encode()
    ).hexdigest()
    stamp = VENV / f"installed-{extra}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted and (BIN / "modelkeep").exists():
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            refuse(
                "Python's venv module is missing here, so .venv cannot be made.\n"
                f"On Debian or Ubuntu: apt-get install python{version}-venv"
            )
        )
    if not (BIN / "python").exists():
        print("Making .venv", flush=True)
        if code := run([sys.executable, "-m", "venv", VENV]):
            sys.exit(code)
    print(f"Installing modelkeep[{extra}] into .venv (once; about a minute)", flush=True)
    pip = [BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if code := run([*pip, "-c", "constraints.txt", "-e", f".[{extra}]"]):
        sys.exit(code)
    stamp.write_text(wanted, encoding="utf-8")


def page() -> int:
    """Builds the web page if its sources have changed: with the machine's node, else through pip with node's wheel."""
    steps = runpy.run_path(str(ROOT / "ui" / "build_page.py"))
    if steps["is_built"]():
        return 0
    print("Building the web page", flush=True)
    if steps["system_node"]() is not None:
        return run([sys.executable, ROOT / "ui" / "build_page.py"])
    if not (BIN / "python").exists() and (code := run([sys.executable, "-m", "venv", VENV])):
        return code
    pip = [BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    return run([*pip, "-e", "."]) or int(not steps["is_built"]())


def services() -> None:
    """Installs the real services that tests start, as root on Debian; otherwise says the command."""
    missing = [package for package, command in SERVICES.items() if not there(command)]
    if not missing:
        return
    line = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"Not installed: {', '.join(missing)}. Tests that need them are skipped by name.")
        print(f"To run them too: sudo {' '.join(line)}", flush=True)
        return
    policy = Path("/usr/sbin/policy-rc.d")
    silent = not policy.exists()
    if silent:  # a package must not start its service: tests run private instances on loopback
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        policy.chmod(0o755)
    try:
        quiet = {"stdout": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "--quiet"], check=False, **quiet)
        subprocess.run(line, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, **quiet)
    finally:
        if silent:
            policy.unlink()


def there(name: str) -> bool:
    """Says whether a command is on the path, or a file where it is expected."""
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


def peers() -> None:
    """Makes the environments of the programs that tests compare us with; does nothing for those that are there."""
    for name in PYTHON_PEERS:
        pins, folder = ROOT / "bench" / "peers" / f"{name}.txt", PEERS / name
        stamp = folder / "installed"
        if stamp.exists() and stamp.read_bytes() == pins.read_bytes():
            continue
        print(f"Making build/peers/{name} (once)", flush=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if run([sys.executable, "-m", "venv", "--clear", folder]) or run([*pip, "-r", pins]):
            print(f"{name} could not be installed; tests that need it are skipped by name.")
            continue
        stamp.write_bytes(pins.read_bytes())
    azurite = PEERS / "azurite"
    if shutil.which("npm") and not (azurite / "node_modules" / ".bin" / "azurite-blob").exists():
        print("Making build/peers/azurite (once)", flush=True)
        azurite.mkdir(parents=True, exist_ok=True)
        if run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", azurite, AZURITE]):
            print("azurite could not be installed; tests that need it are skipped by name.")
    if shutil.which("npm"):
        steps = runpy.run_path(str(ROOT / "ui" / "build_page.py"))
        with contextlib.suppress(steps["NoPage"]):
            steps["packages"]([shutil.which("npm")], tests=True)


def test(selection: list[str]) -> int:
    """Runs every check in turn and stops at the first that fails."""
    checks: list[list[str | Path]] = [
        [BIN / "ruff", "check"],
        [BIN / "ruff", "format", "--check"],
        [BIN / "mypy"],
        [BIN / "lint-imports"],
    ]
    for check in checks:
        print(f"→ {Path(check[0]).name} {' '.join(map(str, check[1:]))}", flush=True)
        if code := run(check):
            return code
    beside = [] if selection else ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
    return run([BIN / "python", "-m", "pytest", "-q", "-rs", *beside, *selection])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
