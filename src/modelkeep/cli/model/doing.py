"""Commands that change the registry; each makes a tag."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from modelkeep.cli.model.shared import message_option, person, push_option, repo_option, sent, writable
from modelkeep.cli.output import clean, json_option, print_json
from modelkeep.core.errors import BadInput

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.models.names import Part
    from modelkeep.models.register import Done
    from modelkeep.models.registry import Registry


@click.command()
@click.argument("name")
@click.argument("version", default="")
@click.option("--rev", default="HEAD", help="The commit, or a name for it.  [default: HEAD]")
@click.option("--bump", type=click.Choice(["major", "minor", "patch"]), help="Which number goes up.  [default: patch]")
@message_option
@click.option("--path", default="", help="The model's file or folder.  [default: what dvc.yaml says]")
@click.option("--data", multiple=True, help="A path of its data; repeatable.  [default: what dvc.lock says]")
@click.option("--features", default="", help="Names joined by commas, or a JSON or YAML file with a list.")
@click.option("--metric", multiple=True, metavar="NAME=VALUE", help="A figure; repeatable.")
@click.option("--metrics", "metrics_file", default="", help="A JSON or YAML file with figures.")
@click.option("--config", "configuration", default="", help="The configuration's hash, or its files, joined by commas.")
@click.option("--log", default="", help="Where the log of the training is: a path or an address.")
@click.option("--reference", default="", help="The data that it was accepted on, a path in the repository.")
@push_option
@repo_option
@json_option
def register(
    name: str,
    version: str,
    rev: str,
    bump: str | None,
    message: str,
    path: str,
    data: tuple[str, ...],
    features: str,
    metric: tuple[str, ...],
    metrics_file: str,
    configuration: str,
    log: str,
    reference: str,
    push: str,
    repo: str,
    as_json: bool,
) -> None:
    """Register a commit as VERSION of the model NAME.

    Without VERSION it is the one after the highest; the first is v0.0.1. What the commit says about the model, its
    data and its metrics (dvc.yaml, dvc.lock, .dvc files) need not be given.
    """
    from modelkeep.models.register import register as registered
    from modelkeep.models.version import Made, trailers

    made = Made(
        path=path,
        data=data,
        features=_features(features),
        metrics=_metrics(metric, metrics_file),
        configuration=_configuration(configuration),
        log=log,
        reference=reference,
    )
    with writable(repo) as registry:
        told = trailers(registry.git, rev, name, made)
        found = registered(
            registry, name, version, bump=cast("Part | None", bump), rev=rev, text=message, trailers=told
        )
        if rev == "HEAD" and not registry.git.bare:
            _warn_changed(registry, found.version)
        sent(registry, [found.event.tag], push)
        if as_json:
            print_json(found.json())
        else:
            click.echo(f"{found.name} is number {found.number}, at commit {found.commit[:12]} (tag {found.event.tag})")


@click.command()
@click.argument("version", metavar="NAME@VERSION")
@click.argument("stage")
@message_option
@push_option
@repo_option
@json_option
def promote(version: str, stage: str, message: str, push: str, repo: str, as_json: bool) -> None:
    """Put a version into STAGE, such as production.

    The version may be named by the stage it is in: modelkeep model promote churn@staging production
    """
    from modelkeep.models.register import promote as promoted

    with writable(repo) as registry:
        done = promoted(registry, version, stage, text=message)
        sent(registry, done.tags, push)
    if as_json:
        print_json(_done_json(done, stage))
    elif not done.tags:
        click.echo(f"{done.version.name} stands in {stage} already; nothing was done")
    else:
        before = f", before it {done.before.version}" if done.before else ""
        click.echo(f"{done.version.name} stands in {stage}{before} (tag {done.tags[0]})")


@click.command()
@click.argument("name")
@click.argument("stage")
@message_option
@push_option
@repo_option
@json_option
def rollback(name: str, stage: str, message: str, push: str, repo: str, as_json: bool) -> None:
    """Put the version back into STAGE that stood there before the present one.

    Again, and it goes one further back. To go anywhere else: modelkeep model promote
    """
    from modelkeep.models.register import rollback as rolled_back

    with writable(repo) as registry:
        done = rolled_back(registry, name, stage, text=message)
        sent(registry, done.tags, push)
    if as_json:
        print_json(_done_json(done, stage))
        return
    off = f" instead of {done.before.version}" if done.before else ""
    click.echo(f"{done.version.name} stands in {stage} again{off} (tag {done.tags[0]})")


@click.command()
@click.argument("name")
@click.argument("stage")
@click.option("--version", default="", help="Only this one; who was there before stands there again.")
@message_option
@push_option
@repo_option
@json_option
def unassign(name: str, stage: str, version: str, message: str, push: str, repo: str, as_json: bool) -> None:
    """Empty STAGE of the model NAME."""
    from modelkeep.models.register import unassign as taken_out

    with writable(repo) as registry:
        done = taken_out(registry, name, stage, version=version, text=message)
        now = registry.stages(name).get(stage)
        sent(registry, [tag for one in done for tag in one.tags], push)
    if as_json:
        out: list[Json] = [one.version.version for one in done]
        tags: list[Json] = [tag for one in done for tag in one.tags]
        print_json({"model": name, "stage": stage, "out": out, "now": now.version if now else None, "tags": tags})
        return
    names = ", ".join(one.version.version for one in done)
    click.echo(f"{clean(name)}: {names} taken out of {stage}; {now.version if now else 'nothing'} stands there now")


@click.command()
@click.argument("version", metavar="NAME@VERSION")
@message_option
@push_option
@repo_option
@json_option
def deregister(version: str, message: str, push: str, repo: str, as_json: bool) -> None:
    """Take a version back: it leaves every stage and is hidden; its number and name are never given again."""
    from modelkeep.models.register import deregister as taken_back

    with writable(repo) as registry:
        stages = registry.resolve(version).stages
        done = taken_back(registry, version, text=message)
        now = registry.stages(done.version.model)
        sent(registry, done.tags, push)
    if as_json:
        print_json({**done.version.json(), "tags": [*done.tags]})
        return
    click.echo(f"{done.version.name} is deregistered (tag {done.tags[0]})")
    for stage in stages:
        click.echo(f"{now[stage].version if stage in now else 'nothing'} stands in {stage} now")


@click.command()
@click.argument("name")
@message_option
@push_option
@repo_option
@json_option
def deprecate(name: str, message: str, push: str, repo: str, as_json: bool) -> None:
    """Hide a model; its versions can still be had by name, and whatever is done to it next shows it again."""
    from modelkeep.models.register import deprecate as hidden

    with writable(repo) as registry:
        tag = hidden(registry, name, text=message)
        sent(registry, [tag], push)
    if as_json:
        print_json({"model": name, "deprecated": True, "tags": [tag]})
    else:
        click.echo(f"{clean(name)} is deprecated (tag {tag})")


@click.command()
@click.argument("version", metavar="NAME@VERSION")
@click.argument("text", default="")
@click.option("-v", "--value", multiple=True, metavar="NAME=VALUE", help="A named value; repeatable.")
@push_option
@repo_option
@json_option
def annotate(version: str, text: str, value: tuple[str, ...], push: str, repo: str, as_json: bool) -> None:
    """Add a remark to a version; the version itself stays as it is."""
    from modelkeep.models.annotations import annotate as added
    from modelkeep.models.register import send

    with writable(repo) as registry:
        found = registry.resolve(version, hidden=True)
        made = added(registry.git, found, text, dict(_pair(one) for one in value))
        if push:
            send(registry, (), push)
        else:
            click.echo("Only here so far; send it: git push origin refs/notes/modelkeep", err=True)
    if as_json:
        print_json({**made.json(), "version": found.name})
    else:
        click.echo(f"{found.name}: {person(made.by)} remarks: {clean(made.text) or 'values only'}")


def _done_json(done: Done, stage: str) -> dict[str, Json]:
    before = done.before.version if done.before and done.before.version != done.version.version else None
    return {**done.version.json(), "stage": stage, "before": before, "tags": [*done.tags]}


def _features(given: str) -> tuple[str, ...]:
    if not given.endswith((".json", ".yaml", ".yml")):
        return tuple(name.strip() for name in given.split(",") if name.strip())
    found = _read(given)
    if not isinstance(found, list):
        raise BadInput(f"{given}: expected a list of names", hint='For example: ["income", "age"]')
    return tuple(map(str, found))


def _metrics(pairs: tuple[str, ...], file: str) -> dict[str, int | float | str]:
    found: dict[str, int | float | str] = {}
    if file:
        from modelkeep.models.tree import flat

        read = _read(file)
        if not isinstance(read, dict):
            raise BadInput(f"{file}: expected names and values", hint='For example: {"auc": 0.91}')
        found |= flat(read)
    for name, text in map(_pair, pairs):
        try:
            found[name] = float(text) if any(char in text for char in ".eEnN") else int(text)
        except ValueError:
            raise BadInput(f"{name}={text}: not a number", hint="For example: --metric auc=0.91") from None
    return found


def _configuration(given: str) -> str:
    """The hash of a configuration: given as such, or that of the files as `mk.config` reads them."""
    files = [name for name in given.split(",") if name]
    if not files or not all(Path(name).is_file() for name in files):
        return given
    from modelkeep.configuration.make import config

    return config(*files).hash


def _read(file: str) -> Json:
    from modelkeep.models.tree import parsed

    try:
        return parsed(Path(file).read_bytes(), file)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}", hint="Look at the path.") from None


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadInput(f"{text!r} is no NAME=VALUE", hint="For example: approved_by=risk")
    return name, value


def _warn_changed(registry: Registry, version: str) -> None:
    changed = registry.git.changed("HEAD")
    if changed:
        names = ", ".join(clean(one.path) for one in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        click.echo(f"{version} is HEAD without what is not committed: {names}{more}", err=True)
