"""Loading and validating a configuration: modelkeep beside Hydra, dynaconf, pydantic-settings and bare OmegaConf.

    python bench/config.py [--keys 500] [--repeat 15]

The same tree for all: three layers of YAML (defaults, a site, an environment; every tenth value an interpolation where
the library has them), ten environment variables, five arguments, a schema where the library takes one. Each library
runs in a process of its own and, where it is no part of ours, in an environment of its own, made once under build/peers
from bench/peers/NAME.txt. Processes take turns; within each, the first load is left out and the median of the repeats
counts. Import is what the first load needs, timed in a fresh process: the least of ten.

Bare OmegaConf is `OmegaConf.load` of each layer, `merge`, `from_dotlist` and `to_container(resolve=True)`: no schema
and no places. Hydra composes the layers as a defaults list, with variables and arguments as overrides, and resolves.
dynaconf loads with `merge_enabled` and makes everything a dict. pydantic-settings reads the same three files and the
variables into the same model; both have no interpolation, so their files have the values written out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = {"hydra": "hydra", "dynaconf": "dynaconf", "pydantic-settings": "pydantic_settings"}
"""Library → its environment under build/peers."""
LAYERS = ("base", "site", "prod")

HEAD = """
import json, os, sys, time
from importlib import metadata
folder, repeat, arguments = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
files = [f"{folder}/{name}.yaml" for name in ("base", "site", "prod")]
"""
TAIL = """
tree = plain(load())
def count(node):
    return sum(map(count, node.values())) if isinstance(node, dict) else 1
times = []
for _ in range(repeat):
    began = time.perf_counter()
    load()
    times.append(time.perf_counter() - began)
print(json.dumps({"ms": [1000 * one for one in times], "keys": count(tree), "version": version, "tree": tree}))
"""
WORK = {
    "modelkeep": """
from modelkeep.configuration.make import config
from model import App
version = metadata.version("modelkeep")
def load():
    return config(App, *files, env="APP_", cli=arguments).value
def plain(tree):
    return tree.model_dump()
""",
    "modelkeep, no schema": """
from modelkeep.configuration.make import config
version = metadata.version("modelkeep")
def load():
    return config(*files, env="APP_", cli=arguments).value
def plain(tree):
    return {name: dict(inner) for name, inner in tree.items()}
""",
    "omegaconf": """
from omegaconf import OmegaConf
version = metadata.version("omegaconf")
def variables():
    names = [name for name in os.environ if name.startswith("APP_")]
    return [f"{name[4:].lower().replace('__', '.')}={os.environ[name]}" for name in names]
def load():
    layers = [OmegaConf.load(name) for name in files]
    config = OmegaConf.merge(*layers, OmegaConf.from_dotlist(variables()), OmegaConf.from_dotlist(arguments))
    return OmegaConf.to_container(config, resolve=True)
def plain(tree):
    return tree
""",
    "hydra": """
import hydra, warnings
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
version = metadata.version("hydra-core")
def variables():
    names = [name for name in os.environ if name.startswith("APP_")]
    return [f"{name[4:].lower().replace('__', '.')}={os.environ[name]}" for name in names]
def load():
    with initialize_config_dir(version_base=None, config_dir=folder):
        return OmegaConf.to_container(compose("all", overrides=[*variables(), *arguments]), resolve=True)
def plain(tree):
    return tree
""",
    "dynaconf": """
import dynaconf
from dynaconf import Dynaconf
unwoven = [name.replace(".yaml", ".plain.yaml") for name in files]
version = metadata.version("dynaconf")
def load():
    found = Dynaconf(settings_files=unwoven, envvar_prefix="APP", merge_enabled=True)
    for argument in arguments:
        key, _, value = argument.partition("=")
        found.set(key, value, tomlfy=True)
    return found.as_dict()
def plain(tree):
    return {name.lower(): value for name, value in tree.items()}
""",
    "pydantic-settings": """
import pydantic_settings
from pydantic_settings import BaseSettings, SettingsConfigDict, YamlConfigSettingsSource
from model import App as Model
version = metadata.version("pydantic-settings")
unwoven = [name.replace(".yaml", ".plain.yaml") for name in files]
def load():
    class App(Model, BaseSettings):
        model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")
        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **others):
            read = [YamlConfigSettingsSource(settings_cls, name) for name in reversed(unwoven)]
            return (init_settings, env_settings, *read)
    given = {}
    for argument in arguments:
        key, _, value = argument.partition("=")
        group, _, name = key.partition(".")
        given.setdefault(group, {})[name] = value
    return App(**given)
def plain(tree):
    return tree.model_dump()
""",
}
IMPORTS = {
    "modelkeep": "import modelkeep; modelkeep.config; from modelkeep.configuration import config, omega, validate; "
    "from modelkeep.configuration.sources import dotlist, environment, yaml",
    "modelkeep, no schema": "import modelkeep; modelkeep.config; from modelkeep.configuration import config, omega; "
    "from modelkeep.configuration.sources import dotlist, environment, yaml",
    "omegaconf": "import omegaconf",
    "hydra": "import hydra; from hydra import compose",
    "dynaconf": "import dynaconf; dynaconf.Dynaconf",
    "pydantic-settings": "import pydantic_settings; pydantic_settings.BaseSettings",
}


def value(dice: random.Random) -> Any:
    return dice.choice(
        [dice.randint(0, 9999), round(dice.random(), 4), dice.random() < 0.5, f"text {dice.randint(0, 999)}"]
    )


def written(node: Any, indent: str = "") -> str:
    lines = []
    for name, inner in node.items():
        if isinstance(inner, dict):
            lines.append(f"{indent}{name}:\n{written(inner, indent + '  ')}")
        else:
            lines.append(f"{indent}{name}: {json.dumps(inner)}\n")
    return "".join(lines)


def make(folder: Path, keys: int) -> list[str]:
    """Writes the three layers twice, with interpolations and without, and the model; gives the arguments."""
    dice = random.Random(1)
    groups = {f"group{group}": {f"key{key}": value(dice) for key in range(10)} for group in range(keys // 10)}
    for number, group in enumerate(groups.values()):
        group["key7"] = f"text 0/group{number}" if number else "text 0"
    layers = {"base": groups}
    for name in ("site", "prod"):
        layers[name] = {
            group: {key: again(old, dice) for key, old in members.items() if key != "key7" and dice.random() < 0.4}
            for group, members in groups.items()
        }
        layers[name] = {group: members for group, members in layers[name].items() if members}
    for name, tree in layers.items():
        (folder / f"{name}.plain.yaml").write_text(written(tree))
        alive = {
            group: {
                key: f"${{group0.key7}}/{group}" if name == "base" and key == "key7" and group != "group0" else inner
                for key, inner in members.items()
            }
            for group, members in tree.items()
        }
        (folder / f"{name}.yaml").write_text(written(alive))
    (folder / "all.yaml").write_text("defaults:\n- base\n- site\n- prod\n")
    kinds = {bool: "bool", int: "int", float: "float", str: "str"}
    model = ["from pydantic import BaseModel"]
    for group, members in groups.items():
        fields = "".join(f"    {key}: {kinds[type(inner)]} = {inner!r}\n" for key, inner in members.items())
        model.append(f"class {group.title()}(BaseModel):\n{fields}")
    fields = "".join(f"    {group}: {group.title()} = {group.title()}()\n" for group in groups)
    model.append(f"class App(BaseModel):\n{fields}")
    (folder / "model.py").write_text("\n".join(model))
    texts = [(group, key) for group, members in groups.items() for key, inner in members.items() if key != "key7"]
    chosen = dice.sample(texts[20:], 15)
    words = [f"{group}.{key}={json.dumps(again(groups[group][key], dice)).strip(chr(34))}" for group, key in chosen]
    for word in words[:10]:
        key, _, text = word.partition("=")
        os.environ[f"APP_{key.upper().replace('.', '__')}"] = text
    return words[10:]


def again(old: Any, dice: random.Random) -> Any:
    """Another value of the same kind, without spaces, so that all can read it from a command line."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return type(old)(dice.randint(1, 9999)) + (0.5 if isinstance(old, float) else 0)
    return f"other{dice.randint(0, 999)}"


def environment(name: str) -> str:
    """Makes a peer's own environment, anew when its pins have changed, and gives its Python."""
    folder, pins = ROOT / "build" / "peers" / name, ROOT / "bench" / "peers" / f"{name}.txt"
    python, stamp = str(folder / "bin" / "python"), folder / "installed"
    if not stamp.exists() or stamp.read_bytes() != pins.read_bytes():
        print(f"Making build/peers/{name} (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(pins)], check=True)
        stamp.write_bytes(pins.read_bytes())
    return python


def run(name: str, python: str, folder: Path, repeat: int, arguments: list[str]) -> dict[str, Any]:
    code = HEAD + WORK[name] + TAIL
    paths = [str(folder), str(ROOT / "src")] if name.startswith("modelkeep") else [str(folder)]
    command = [python, "-W", "ignore", "-c", code, str(folder), str(repeat), json.dumps(arguments)]
    done = subprocess.run(
        command, env=variables(PYTHONPATH=os.pathsep.join(paths)), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def variables(**others: str) -> dict[str, str]:
    """The environment of a child; it may keep what it compiles, as programs do."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}, **others}


def import_ms(name: str, python: str) -> float:
    """The least of ten imports in fresh processes; one before them compiles."""
    timed = f"import time; b = time.perf_counter(); {IMPORTS[name]}; print(1000 * (time.perf_counter() - b))"
    command, given = [python, "-c", timed], variables(PYTHONPATH=str(ROOT / "src"))
    told = [subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout for _ in range(11)]
    return min(map(float, told[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    names = [*WORK]
    pythons = {name: environment(PEERS[name]) if name in PEERS else sys.executable for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    told: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        arguments = make(folder, given.keys)
        for _ in range(given.turns):
            for name in names:
                told[name] = run(name, pythons[name], folder, given.repeat, arguments)
                times[name] += told[name]["ms"]
        imports = {name: import_ms(name, pythons[name]) for name in names}
    for name in names:  # all have read the same
        assert told[name]["tree"] == told["omegaconf"]["tree"], name
    ours = statistics.median(times["modelkeep"])
    print(f"{'library':22} {'version':10} {'keys':>5} {'load ms':>9} {'least':>8} {'ratio':>7} {'import ms':>10}")
    for name in names:
        middle = statistics.median(times[name])
        row = f"{name:22} {told[name]['version']:10} {told[name]['keys']:5d} {middle:9.1f} {min(times[name]):8.1f}"
        print(f"{row} {middle / ours:6.2f}x {imports[name]:10.0f}")
    print("ratio: the library's time over that of modelkeep with its schema, provenance and history")


if __name__ == "__main__":
    main()
