"""Commands that ask the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from modelkeep.cli.extra import need
from modelkeep.cli.model.shared import day, opened, person, print_long, repo_option, warn
from modelkeep.cli.output import cell, clean, json_option, print_json, table

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.models.difference import Difference
    from modelkeep.models.formats import Format
    from modelkeep.models.registry import Event, Model, Registry, Version
    from modelkeep.models.tree import Figure
    from modelkeep.models.version import Details

T = TypeVar("T")
_EVENTS = 8
_PAGE = 30


@click.command("list")
@click.argument("name", default="")
@click.option("-a", "--all", "hidden", is_flag=True, help="Also what is deprecated, deregistered or never registered.")
@click.option("-n", "--limit", type=int, help="So many versions; 0 is all.  [default: 30, all with --json]")
@repo_option
@json_option
def list_(name: str, hidden: bool, limit: int | None, repo: str, as_json: bool) -> None:
    """List the models, or the versions of NAME, the newest first."""
    with opened(repo) as registry:
        if name:
            _list_versions(registry.versions(name, hidden=hidden)[::-1], name, limit, as_json)
        else:
            _list_models(registry.artifacts(hidden=hidden), as_json)
        warn(registry, name)


@click.command()
@click.argument("asked", metavar="NAME[@VERSION]")
@repo_option
@json_option
def show(asked: str, repo: str, as_json: bool) -> None:
    """Show what a version was made of, who did what to it, and whether loading it executes code.

    Without a version: the model, and which version stands where.
    """
    from modelkeep.models.names import asked as parsed

    with opened(repo) as registry:
        if not parsed(asked).kind:
            _show_model(registry, registry.artifact(parsed(asked).model), as_json)
        else:
            _show_version(registry, registry.resolve(asked, hidden=True), as_json)
        warn(registry, parsed(asked).model)


@click.command()
@click.argument("name")
@click.option("--stage", default="", help="Only what happened to this stage.")
@click.option("-n", "--limit", type=int, help="So many events; 0 is all.  [default: 30, all with --json]")
@repo_option
@json_option
def history(name: str, stage: str, limit: int | None, repo: str, as_json: bool) -> None:
    """Show what happened to a model: who registered, promoted or took back what, the newest first."""
    with opened(repo) as registry:
        events = [one for one in reversed(registry.history(name)) if not stage or one.stage == stage]
        shown = _first(events, limit, as_json)
        if as_json:
            print_long({"model": name, "events": [one.json() for one in shown]})
        else:
            head = ["when (UTC)", "what", "version", "stage", "who", "why", "tag"]
            click.echo(table(head, map(_event_row, shown), empty="Nothing happened."))
            _more(len(events) - len(shown))
        warn(registry, name)


@click.command()
@click.argument("old", metavar="NAME@OLD")
@click.argument("new", metavar="[NAME@]NEW")
@repo_option
@json_option
def diff(old: str, new: str, repo: str, as_json: bool) -> None:
    """Show what differs between two versions: data, features, metrics, parameters, configuration, commits."""
    from modelkeep.models.difference import difference
    from modelkeep.models.names import asked as parsed
    from modelkeep.models.version import details

    with opened(repo) as registry:
        first = registry.resolve(old, hidden=True)
        whole = new if "@" in new or "#" in new else f"{parsed(old).model}@{new}"
        second = registry.resolve(whole, hidden=True)
        found = difference(registry.git, details(registry.git, first), details(registry.git, second))
    if as_json:
        print_json(found.json())
    else:
        click.echo("\n".join(_diff_lines(found)))


@click.command()
@click.argument("asked", metavar="NAME@VERSION")
@click.option("-o", "--out", default="", help="Where to put it.  [default: here, under its own name]")
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
@repo_option
@json_option
def get(asked: str, out: str, force: bool, repo: str, as_json: bool) -> None:
    """Fetch the file of a version, verified; say whether loading it executes code."""
    need("data", "blake3", "pathspec", "obstore")
    from modelkeep.cli.progress import shown
    from modelkeep.core.errors import Missing
    from modelkeep.data.verbs.get import get as fetched
    from modelkeep.models.formats import format_of
    from modelkeep.models.version import details

    with opened(repo) as registry, shown() as progress:
        version = registry.resolve(asked)
        file = details(registry.git, version).file
        if file is None:
            raise Missing(
                f"{version.name}: nobody says which file is the model",
                hint=f"Say it in dvc.yaml (artifacts: {version.model}: path: …), or by model register --path.",
            )
        source = repo or str(registry.git.root)
        got = fetched(source, file.path, rev=version.commit, out=out, force=force, progress=progress)
    form = format_of(got.path)
    if as_json:
        told: dict[str, Json] = {"path": str(got.path), "files": got.files, "bytes": got.size}
        print_json({**version.json(), **told, "format": _format_json(form)})
        return
    click.echo(str(got.path))
    click.echo(f"{version.name}: {got.size} bytes, {form.told()}", err=True)


def _list_models(models: list[Model], as_json: bool) -> None:
    if as_json:
        print_long({"models": [one.json() for one in models]})
        return
    rows = []
    for one in models:
        stages = ", ".join(f"{stage} {version.version[:20]}" for stage, version in one.stages.items())
        name = f"{one.name} (deprecated)" if one.deprecated else one.name
        rows.append([name, one.latest.version if one.latest else None, len(one.active), stages or None])
    click.echo(table(["model", "latest", "versions", "stages"], rows, empty=_NO_MODEL))


_NO_MODEL = "No model yet: modelkeep model register NAME"


def _list_versions(found: list[Version], name: str, limit: int | None, as_json: bool) -> None:
    shown = _first(found, limit, as_json)
    if as_json:
        print_long({"model": name, "versions": [one.json() for one in shown]})
        return
    click.echo(table(["no", "version", "stages", "when (UTC)", "who", "commit", "why"], map(_version_row, shown)))
    _more(len(found) - len(shown))


def _first(found: list[T], limit: int | None, as_json: bool) -> list[T]:
    """The first of a list: as many as asked for, by default all for programs, and a page for people."""
    many = (0 if as_json else _PAGE) if limit is None else limit
    return found[:many] if many > 0 else found


def _more(count: int) -> None:
    if count > 0:
        click.echo(f"{count} older ones: --limit 0", err=True)


def _version_row(one: Version) -> list[Json]:
    state = "" if one.active else "deregistered"
    stages = ", ".join(one.stages) or state or None
    name = one.version if one.registered else one.version[:12]
    first = one.event.text.partition("\n")[0]
    return [one.number or None, name, stages, day(one.at_ns), person(one.by), one.commit[:12], first or None]


def _event_row(one: Event) -> list[Json]:
    what = "rollback" if "Rollback" in one.trailers else one.action
    first = one.text.partition("\n")[0]
    return [day(one.at_ns), what, one.version[:20] or None, one.stage or None, person(one.by), first or None, one.tag]


def _show_model(registry: Registry, model: Model, as_json: bool) -> None:
    from modelkeep.models.artifacts import Artifact, artifact_at

    latest = model.latest
    said = artifact_at(registry.git, latest.commit, model.name) if latest else Artifact(model.name)
    if as_json:
        print_json({**model.json(), "artifact": said.json(), "events": len(model.events)})
        return
    lines = [f"{model.name}{'  (deprecated)' if model.deprecated else ''}"]
    lines += _line("what", said.desc) + _line("type", said.type) + _line("labels", ", ".join(said.labels))
    lines += _line("latest", f"{latest.name}, {day(latest.at_ns)} by {person(latest.by)}" if latest else "none")
    lines += _line("versions", str(len(model.active)))
    for stage, one in model.stages.items():
        lines += _line(stage, f"{one.name}, {day(one.at_ns)} by {person(one.by)}")
    click.echo("\n".join(clean(line) for line in lines))


def _show_version(registry: Registry, version: Version, as_json: bool) -> None:
    from modelkeep.models.annotations import remarks
    from modelkeep.models.version import details
    from modelkeep.models.weights import format_here

    told = details(registry.git, version)
    form = format_here(registry.git, told.file) if told.file else None
    said = remarks(registry.git, version)
    events = [one for one in registry.history(version.model) if one.version == version.version]
    if as_json:
        print_json(
            {
                **told.json(),
                "format": _format_json(form) if form else None,
                "annotations": [one.json() for one in said],
                "events": [one.json() for one in events],
            }
        )
        return
    lines = [*_about(version, told, form)]
    lines += [f"  {day(one.at_ns)}  {_told(one)} by {person(one.by)}" for one in events[-_EVENTS:]]
    lines += [
        f"  {day(one.at_ns)}  {person(one.by) or 'somebody'}: {one.text} "
        + " ".join(f"{name}={value}" for name, value in one.values.items())
        for one in said
    ]
    click.echo("\n".join(clean(line).rstrip() for line in lines))
    for fault in told.faults:
        click.echo(clean(fault), err=True)


def _about(version: Version, told: Details, form: Format | None) -> list[str]:
    state = "" if version.active else "  (deregistered)"
    number = f"  number {version.number}" if version.number else "  never registered"
    lines = [f"{version.name}{number}{state}"]
    lines += _line("stages", ", ".join(version.stages))
    lines += _line("what", told.artifact.desc) + _line("why", version.event.text.replace("\n", " "))
    lines += _line("code", f"{version.commit[:12]} {told.subject}, {told.author}, {day(told.committed_ns)}")
    if told.file:
        size = f", {told.file.size} bytes" if told.file.size is not None else ""
        lines += _line("file", f"{told.file.path} {told.file.oid or 'not there'}{size}")
    lines += _line("format", form.told() if form else "")
    lines += _line("imports", ", ".join(form.suspicious) if form else "")
    for piece in told.data:
        lines += _line("data", f"{piece.path} {piece.oid}")
    lines += _line("features", f"{len(told.features)}: {', '.join(told.features)}" if told.features else "")
    lines += _line("metrics", ", ".join(f"{name} {cell(value)}" for name, value in told.metrics.items()))
    lines += _line("params", ", ".join(f"{name} {cell(value)}" for name, value in told.params.items()))
    lines += _line("config", told.configuration) + _line("log", told.log) + _line("reference", told.reference)
    return lines


def _line(name: str, text: str) -> list[str]:
    return [f"  {name:<10} {text}"] if text else []


def _told(one: Event) -> str:
    verbs = {"register": "registered", "deregister": "deregistered", "unassign": f"taken out of {one.stage}"}
    if one.action == "assign":
        return f"put {'back ' if 'Rollback' in one.trailers else ''}into {one.stage}"
    return verbs.get(one.action, one.action)


def _diff_lines(found: Difference) -> list[str]:
    old, new = found.old.version, found.new.version
    lines = [f"{old.name} -> {new.name}"]
    if found.file[0] != found.file[1]:
        lines += _line("file", f"{found.file[0] or '-'} -> {found.file[1] or '-'}")
    for path, (before, after) in found.data.items():
        lines += _line("data", f"{path}: {before or 'not there'} -> {after or 'not there'}")
    lines += _line(
        "features",
        " ".join([f"+{name}" for name in found.features_added] + [f"-{name}" for name in found.features_removed]),
    )
    for name, pair in found.metrics.items():
        lines += _line("metric", f"{name}: {_change(*pair)}")
    for name, pair in found.params.items():
        lines += _line("param", f"{name}: {_change(*pair)}")
    if found.configuration[0] != found.configuration[1]:
        lines += _line("config", f"{found.configuration[0] or '-'} -> {found.configuration[1] or '-'}")
    if found.commits is None:
        lines += _line("commits", "unknown: this clone is shallow (git fetch --unshallow)")
    elif found.commits or found.commits_back:
        back = f", and {found.commits_back} that only the old one has" if found.commits_back else ""
        lines += _line("commits", f"{found.commits}{back}; modelkeep code diff {old.name} {new.name}")
    return [clean(line) for line in lines] if len(lines) > 1 else [f"{lines[0]}: nothing differs"]


def _change(before: Figure | None, after: Figure | None) -> str:
    text = f"{cell(before)} -> {cell(after)}"
    if isinstance(before, int | float) and isinstance(after, int | float):
        return f"{text} ({after - before:+.4g})"
    return text


def _format_json(form: Format) -> dict[str, Json]:
    return {
        "name": form.name,
        "executes": form.executes,
        "why": form.why,
        "imports": [*form.imports],
        "suspicious": [*form.suspicious],
        "seen": form.seen,
    }
