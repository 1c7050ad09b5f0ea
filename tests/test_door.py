"""The door: importing it costs nothing, and no name of it hides a room."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import modelkeep

LATER = {"configuration", "data", "logs", "models"}
LOOK = """
import builtins, json, os, socket, sys, threading
before = set(sys.modules)
opened = []
def look(event, given):
    if event in {"open", "socket.__new__"}:
        opened.append((event, str(given[0])))
sys.addaudithook(look)
import modelkeep
opened = [path for event, path in opened if event != "open" or not path.endswith((".py", ".pyc"))]
opened = [path for path in opened if ".pyc." not in path and not os.path.isdir(path)]
print(json.dumps([sorted(set(sys.modules) - before), [thread.name for thread in threading.enumerate()], opened]))
"""


def test_no_name_of_the_door_is_a_room() -> None:
    rooms = {module.name for module in pkgutil.iter_modules(modelkeep.__path__)} | LATER
    assert rooms.isdisjoint(set(modelkeep.__all__) - {"__version__"})
    assert set(modelkeep._ROOMS) == set(modelkeep.__all__) - {"__version__"}


def test_every_name_of_the_door_opens() -> None:
    for name in modelkeep.__all__:
        assert getattr(modelkeep, name) is not None
    assert set(modelkeep.__all__) <= set(dir(modelkeep))
    assert modelkeep.logging.Handler is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(modelkeep, "autolog")


def test_importing_starts_nothing_and_loads_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, cwd=tmp_path)
    modules, threads, opened = json.loads(done.stdout)
    assert [name for name in modules if name.startswith("modelkeep")] == ["modelkeep", "modelkeep._version"]
    assert {name.split(".")[0] for name in modules} <= {"modelkeep"} | sys.stdlib_module_names
    assert not {"numpy", "pandas", "msgspec", "socket", "ssl", "http", "asyncio", "logging"} & set(modules)
    assert threads == ["MainThread"]
    assert opened == []
    assert list(tmp_path.iterdir()) == []


def test_a_models_process_loads_msgspec_and_the_standard_library_alone(tmp_path: Path) -> None:
    look = (
        "import sys; before = set(sys.modules); import modelkeep as mk\n"
        "for name in mk.__all__: getattr(mk, name)\n"
        "mk.log_prediction('m', {'a': 1}, 1); mk.truth('a', 1)\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, cwd=tmp_path)
    foreign = {name for name in done.stdout.split() if name not in sys.stdlib_module_names}
    assert foreign <= {"modelkeep", "msgspec", "_msgspec", "typing_extensions"}
    assert list(tmp_path.iterdir()) == []
