#!/usr/bin/env python3
"""Writes the generated pages of docs/reference; `--check` exits 1 when one of them is not current."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import modelkeep as mk
from modelkeep import data
from modelkeep.alerts.channel import Channel
from modelkeep.cli.commands import modelkeep
from modelkeep.core.kinds import Kind
from modelkeep.metrics.promql import aggregation, calls, functions, overtime
from modelkeep.models import training
from modelkeep.quality import series as derived
from modelkeep.sdk import applied
from modelkeep.server import own, settings

ROOT = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py; change the source instead. -->\n"
KINDS = {
    "modelkeep.alerts.channels": "Alert channels (`alerts.channels[].kind`)",
    "modelkeep.quality.drift": "Drift measures",
    "modelkeep.metrics.probes": "Probes",
    "modelkeep.store.remotes": "Remotes (`modelkeep remote add NAME URL`)",
    "modelkeep.configuration.sources": "Sources of configuration (`mk.config(…, SOURCE)`)",
    "modelkeep.store.engines": "Engines",
}


def pages() -> dict[str, str]:
    return {
        "commands.md": "\n".join(commands()),
        "sdk.md": "\n".join(sdk()),
        "data.md": "\n".join(versions()),
        "plugins.md": "\n".join(plugins()),
        "promql.md": "\n".join(promql()),
        "series.md": "\n".join(series()),
        "settings.md": f"{NOTE}{settings.reference()}",
    }


def commands() -> Iterator[str]:
    yield f"{NOTE}# Commands\n"
    yield "Exit codes: 0 fine · 1 the judged thing is bad · 2 to 8 the errors of `modelkeep.core.errors`.\n"
    for path, command in leaves(modelkeep, ()):
        context = click.Context(
            command, info_name=" ".join(("modelkeep", *path)), max_content_width=100, terminal_width=100
        )
        yield f"## modelkeep {' '.join(path)}\n\n```\n{command.get_help(context).rstrip()}\n```\n"


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None:
            yield from leaves(child, (*path, name))


def sdk() -> Iterator[str]:
    yield f"{NOTE}# SDK\n"
    yield "`import modelkeep as mk` starts nothing. Without `MODELKEEP_URL` every call does nothing.\n"
    for name in mk.__all__:
        if name == "__version__":
            continue
        found = getattr(mk, name)
        call = f"{name}{inspect.signature(found)}" if callable(found) else name
        yield f"## mk.{name}\n\n```python\n{call}\n```\n\n```\n{inspect.getdoc(found)}\n```\n"


def versions() -> Iterator[str]:
    yield f"{NOTE}# Data from Python\n"
    yield "`from modelkeep import data`; every verb of the command line as a function.\n"
    for name in data.__all__:
        found = getattr(data, name)
        call = f"{name}{inspect.signature(found)}" if not inspect.isclass(found) else name
        yield f"## data.{name}\n\n```python\n{call}\n```\n\n```\n{inspect.getdoc(found)}\n```\n"


def plugins() -> Iterator[str]:
    yield f"{NOTE}# Plugins\n"
    yield "One file each; another package adds one by an entry point of the group named in brackets.\n"
    for package, title in KINDS.items():
        yield f"## {title} [{package}]\n"
        kind = Kind[Channel](package)
        for name in kind.names():
            yield f"### {name}\n\n```\n{describe(package, name)}\n```\n"


def describe(package: str, name: str) -> str:
    """Gives the docstring of a plugin, or that of its module where the plugin is a value."""
    module = importlib.import_module(f"{package}.{name}")
    plugin = getattr(module, "plugin", None)
    return inspect.getdoc(plugin if inspect.isclass(plugin) else module) or ""


def series() -> Iterator[str]:
    yield f"{NOTE}# Series\n\n## Derived from predictions and facts\n\n{inspect.getdoc(derived)}\n"
    yield "\n".join(f"- `{name}`" for name in sorted((*derived.COUNTERS, *derived.GAUGES)))
    yield f"\n## Derived from trainings\n\n{inspect.getdoc(training)}\n"
    yield "\n".join(f"- `{name}`" for name in sorted(training.NAMES))
    for package in ("host", "process"):
        module = importlib.import_module(f"modelkeep.metrics.probes.{package}")
        yield f"\n## Probe {package}\n\n{inspect.getdoc(module)}\n\n{inspect.getdoc(module.plugin)}"
    yield "\n## Told by processes\n\n| series | what it gives |\n|---|---|"
    for name, text in sorted(applied.HELP.items()):
        yield f"| `{name}` | {text} |"
    yield "\n## The server's own\n\n| series | what it gives |\n|---|---|"
    for name, text in sorted(own.HELP.items()):
        yield f"| `{name}` | {text} |"
    yield ""


def promql() -> Iterator[str]:
    yield f"{NOTE}# PromQL\n"
    yield "Parsed by promql-parser 0.12; what parses but is not listed here is refused by name. Range windows are"
    yield "left-open, as in Prometheus 3; the tests compare with Prometheus 2.42, windows closed.\n"
    yield "- selectors with `=`, `!=`, `=~`, `!~`; `offset`, `@`, subqueries; the lookback is 5 minutes"
    yield "- arithmetic, comparison with and without `bool`, `and`, `or`, `unless`"
    yield "- `on`, `ignoring`, `group_left`, `group_right`"
    folds = sorted({*aggregation.FOLDS, "topk", "bottomk", "quantile", "count_values"})
    yield f"- aggregations with `by` and `without`: {', '.join(f'`{name}`' for name in folds)}"
    known = {*calls.CALLS, *functions.ELEMENTWISE, *functions.CALENDAR, *overtime.FUNCTIONS}
    yield f"- functions: {', '.join(f'`{name}`' for name in sorted(known))}"
    yield "\nOur own: `as_of` of the query paths, and the label `window` of derived series (series.md).\n"


def main() -> int:
    stale = []
    for name, text in pages().items():
        file = ROOT / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                file.write_text(text, encoding="utf-8")
    if stale:
        print(("Not current: " if "--check" in sys.argv else "Wrote ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
