"""What packaging does before it packs: builds the web page into the package, from `ui/`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Page(BuildHookInterface[Any]):
    """Runs `ui/build_page.py`; where npm is out of reach the package is made without the page and says so."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node from the package index, unless there is nothing to build or the machine has its own."""
        steps = self._steps()
        if steps is None or steps["is_built"]() or steps["system_node"]() is not None:
            return []
        return [steps["NODE_WHEEL"]]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the page, if it is not built already."""
        steps = self._steps()
        if steps is not None:
            try:
                steps["build"]()
            except steps["NoPage"] as error:
                print(steps["shout"](str(error)), file=sys.stderr, flush=True)
        inside = Path("modelkeep", "server", "static")
        built = (Path(self.root) / "src" / inside / "index.html").exists()
        if built and version != "editable":  # git ignores it, so it is named here
            target = inside if self.target_name == "wheel" else Path("src") / inside
            build_data["force_include"][str(Path("src") / inside)] = target.as_posix()

    def _steps(self) -> dict[str, Any] | None:
        path = Path(self.root) / "ui" / "build_page.py"
        return runpy.run_path(str(path)) if path.exists() else None
