"""`modelkeep code`: what changed in the code, when it was committed, pushed, deployed and first used, and by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from modelkeep.cli.output import clean, json_option, print_json, table
from modelkeep.core.errors import BadInput, Missing

if TYPE_CHECKING:
    from modelkeep.cli.commits import Known, Times
    from modelkeep.code.history import Between, Commit, FileChange
    from modelkeep.code.repository import Git
    from modelkeep.core.shapes import Json

_COMMITS: Final = 30
_VERSIONS: Final = 5
_SHORT: Final = 10
_HEAD: Final = ["commit", "committed", "pushed", "deployed", "first prediction", "by", "subject"]


@click.group()
def code() -> None:
    """Show what changed in the code, when and by whom."""


@code.command()
@click.argument("what", metavar="[MODEL|A..B|REVISION]", required=False)
@click.option("--model", help="The versions of this model, as MODEL.")
@click.option("--files", is_flag=True, help="Also the files that changed, with their lines.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), help="So many versions (5), or commits (30).")
@click.option("--repo", default="", help="The git repository: a folder or an address.  [default: here]")
@json_option
def log(what: str | None, model: str | None, files: bool, limit: int | None, repo: str, as_json: bool) -> None:
    """List commits with when they were committed, pushed, deployed and first used, and by whom.

    Of a MODEL: its versions, the last deployed first, each with the commits since the one before. Of A..B: the
    commits that B has and A lacks; each may be a revision, a model's version (churn@v1.2.0, churn@production) or a
    release's id. Else: the commits before a REVISION, or before HEAD.

    Pushes, deploys and predictions are those that the server was told of, in its own time.
    """
    from modelkeep.cli.commits import known

    found = known()
    with _Here(repo) as git:
        if model or (what and _is_model(git, what, found)):
            _print_versions(git, model or what or "", found, files=files, limit=limit or _VERSIONS, as_json=as_json)
        elif what and ".." in what:
            a, _, b = what.partition("..")
            _print_between(_needed(git), a.rstrip(".") or "HEAD", b.lstrip(".") or "HEAD", found,
                           files=files, limit=limit or _COMMITS, as_json=as_json)  # fmt: skip
        else:
            _print_commits(_needed(git), what or "HEAD", found, files=files, limit=limit or _COMMITS, as_json=as_json)
    _say(found.note)


@code.command()
@click.argument("a")
@click.argument("b", required=False, default="HEAD")
@click.option("--patch", "-p", "as_patch", is_flag=True, help="The changed lines themselves.")
@click.option("--path", "paths", multiple=True, help="Only this file or folder; repeatable.")
@click.option("--repo", default="", help="The git repository: a folder or an address.  [default: here]")
@json_option
def diff(a: str, b: str, as_patch: bool, paths: tuple[str, ...], repo: str, as_json: bool) -> None:
    """Show the files that differ between A and B, and the commits that lie between.

    Each is a revision, a model's version (churn@v1.2.0, churn@5, churn@production) or the beginning of a release's id.
    """
    from modelkeep.cli.commits import known, resolve
    from modelkeep.code.history import between, changes
    from modelkeep.code.history import diff as lines

    found = known()
    with _Here(repo) as here:
        git = _needed(here)
        first, second = resolve(git, a, found), resolve(git, b, found)
        if as_patch and not as_json:
            click.echo(lines(git, first.code, second.code, paths=paths).decode("utf-8", "replace"), nl=False)
            return
        span = between(git, first.code, second.code, limit=_COMMITS)
        changed = [one for one in changes(git, first.code, second.code) if _is_below(one, paths)]
        link = _links(git, first.remote or second.remote).compare(span.a, span.b)
        if as_json:
            told: dict[str, Json] = {
                "a": {"asked": a, "code": span.a, "what": first.what, "patch": first.patch or None},
                "b": {"asked": b, "code": span.b, "what": second.what, "patch": second.patch or None},
                "link": link or None,
                **_relation(span),
                "commits": [_commit(one) for one in span.commits],
                "files": [_file(one) for one in changed],
            }
            print_json(told)
            return
        for line in _summary(a, b, span, changed):
            click.echo(line)
        for name, patch in ((a, first.patch), (b, second.patch)):
            if patch:
                click.echo(f"{clean(name)} ran with changes that were never committed: patch {clean(patch)}")
        _echo_files(changed, "  ")
        if link:
            click.echo(link)
    _say(found.note)


class _Here:
    """The repository that was named, or the one around; None where there is none and none was named."""

    def __init__(self, repo: str) -> None:
        self._repo = repo
        self._git: Git | None = None

    def __enter__(self) -> Git | None:
        from modelkeep.models.load import open_repository

        try:
            self._git = open_repository(self._repo)
        except Missing:
            if self._repo:
                raise
        return self._git

    def __exit__(self, *error: object) -> None:
        if self._git is not None:
            self._git.close()


def _needed(git: Git | None) -> Git:
    if git is None:
        raise Missing(
            "no git repository here",
            hint="Go into one, name one with --repo, or ask for a model that the server knows.",
        )
    return git


def _is_model(git: Git | None, what: str, found: Known) -> bool:
    if ".." in what or "@" in what:
        return False
    if found.of(what):
        return True
    if git is None:
        return False
    from modelkeep.models.registry import Registry

    return any(one.name == what for one in Registry(git).artifacts(hidden=True))


# Commits


def _print_commits(git: Git, rev: str, found: Known, *, files: bool, limit: int, as_json: bool) -> None:
    from modelkeep.cli.commits import resolve, times
    from modelkeep.code.history import log as commits

    named = resolve(git, rev, found)
    listed = commits(git, named.code, limit=limit)
    when = times(git, listed, found)
    if as_json:
        print_json({"revision": named.code, "commits": _told(git, listed, when, named.remote, files=files)})
    else:
        _echo_commits(git, listed, when, files=files)


def _print_between(git: Git, a: str, b: str, found: Known, *, files: bool, limit: int, as_json: bool) -> None:
    from modelkeep.cli.commits import resolve, times
    from modelkeep.code.history import between, changes

    first, second = resolve(git, a, found), resolve(git, b, found)
    span = between(git, first.code, second.code, limit=limit)
    when = times(git, span.commits, found)
    remote = first.remote or second.remote
    if as_json:
        print_json({
            "a": span.a,
            "b": span.b,
            "link": _links(git, remote).compare(span.a, span.b) or None,
            **_relation(span),
            "commits": _told(git, span.commits, when, remote, files=files),
        })  # fmt: skip
        return
    for line in _summary(a, b, span, changes(git, span.a, span.b)):
        click.echo(line)
    _echo_commits(git, span.commits, when, files=files)
    if span.count > len(span.commits):
        click.echo(f"{span.count - len(span.commits)} more: -n {span.count}", err=True)


def _echo_commits(git: Git, listed: Sequence[Commit], when: Times, *, files: bool) -> None:
    rows = [_row(one, when) for one in listed]
    if not files:
        click.echo(table(_HEAD, rows, empty="No commits."))
        return
    lines = table(_HEAD, rows, empty="No commits.").split("\n")
    click.echo(lines[0])
    for one, line in zip(listed, lines[1:], strict=False):
        click.echo(line)
        _echo_files(_changed(git, one), "    ")


def _row(one: Commit, when: Times) -> list[Json]:
    return [
        one.id[:_SHORT],
        _minute(one.committed_ns),
        *(_moment(each.get(one.id)) for each in (when.pushed, when.deployed, when.predicted)),
        _people(one),
        one.subject,
    ]


def _people(one: Commit) -> str:
    """Everybody who had a part: who wrote it, with whom, and who put it into the history."""
    text = _person(one.author)
    if one.coauthors:
        text += f" with {', '.join(map(_person, one.coauthors))}"
    return text if one.committer == one.author else f"{text}, put in by {_person(one.committer)}"


def _told(git: Git, listed: Sequence[Commit], when: Times, remote: str, *, files: bool) -> list[Json]:
    links = _links(git, remote)
    rows: list[Json] = []
    for one in listed:
        row = _commit(one) | {"link": links.commit(one.id) or None}
        for name, each in (("pushed", when.pushed), ("deployed", when.deployed), ("first_prediction", when.predicted)):
            event = each.get(one.id)
            row[name] = event.at if event else None
            if name != "first_prediction":
                row[f"{name}_by"] = event.who or None if event else None
        rows.append(row | ({"files": [_file(change) for change in _changed(git, one)]} if files else {}))
    return rows


def _commit(one: Commit) -> dict[str, Json]:
    from modelkeep.core.times import iso

    return {
        "id": one.id,
        "subject": one.subject,
        "author": one.author,
        "committer": one.committer,
        "coauthors": list(one.coauthors),
        "authored": iso(one.authored_ns),
        "committed": iso(one.committed_ns),
    }


# Versions of a model


class _Version(NamedTuple):
    """A version of a model with the code that it was: registered, served, or both."""

    name: str
    code: str
    row: Mapping[str, Json]
    registered: str
    by: str
    deployed: str


def _versions(git: Git | None, model: str, found: Known) -> list[_Version]:
    """The versions of a model, the last deployed first; those that never were stand where they were registered."""
    served = {(str(row.get("version")), str(row.get("code"))): row for row in found.of(model) if row.get("code")}
    versions: dict[tuple[str, str], _Version] = {}
    for row in found.of(model):  # the newest first: what is kept in the end is the first time
        key = (str(row.get("version")), str(row.get("code") or ""))
        versions[key] = _Version(key[0], key[1], served.get(key, row), "", "", str(row.get("announced") or ""))
    if git is not None:
        from modelkeep.core.times import iso
        from modelkeep.models.registry import Registry

        registry = Registry(git)
        known = {one.name for one in registry.artifacts(hidden=True)}
        for one in registry.versions(model, hidden=True) if model in known else []:
            key = (one.version, one.commit)
            old = versions.get(key, _Version(*key, {}, "", "", ""))
            versions[key] = old._replace(registered=iso(one.at_ns), by=one.by)
    return sorted(versions.values(), key=lambda one: (one.deployed or one.registered, one.name), reverse=True)


def _print_versions(git: Git | None, model: str, found: Known, *, files: bool, limit: int, as_json: bool) -> None:
    versions = _versions(git, model, found)
    if not versions:
        raise Missing(f"{model}: no version is registered here, and none served", hint="modelkeep model list")
    told: list[Json] = []
    for place, one in enumerate(versions[:limit]):
        before = next((each for each in versions[place + 1 :] if each.code and each.code != one.code), None)
        if as_json:
            told.append(_version_json(git, one, before, found, model, files=files))
        else:
            _echo_version(git, one, before, found, model, files=files)
    if as_json:
        print_json({"model": model, "versions": told, "count": len(versions)})
    elif len(versions) > limit:
        click.echo(f"{len(versions) - limit} more: -n {len(versions)}", err=True)


def _span(git: Git | None, one: _Version, before: _Version | None) -> tuple[Between | None, str]:
    """What lies between a version and the one before, or why that is not known."""
    from modelkeep.code.history import between

    if before is None or not one.code:
        return None, "" if one.code else "It names no commit."
    if git is None:
        return None, "There is no git repository here to look at."
    try:
        return between(git, before.code, one.code, limit=_COMMITS), ""
    except (Missing, BadInput) as error:
        return None, f"{error.message}. {error.hint}"


def _version_json(
    git: Git | None, one: _Version, before: _Version | None, found: Known, model: str, *, files: bool
) -> dict[str, Json]:
    from modelkeep.cli.commits import times
    from modelkeep.code.history import changes

    span, why = _span(git, one, before)
    remote = str(one.row.get("remote") or "")
    links = _links(git, remote)
    row: dict[str, Json] = {
        "version": one.name,
        "code": one.code or None,
        "dirty": one.row.get("dirty"),
        "patch": one.row.get("patch") or None,
        "role": one.row.get("role"),
        "registered": one.registered or None,
        "registered_by": one.by or None,
        "deployed": one.deployed or None,
        "deployed_by": one.row.get("deployers") or [],
        "first_prediction": one.row.get("first_prediction"),
        "link": links.commit(one.code) or None,
        "before": before.name if before else None,
        "compare": links.compare(before.code, one.code) or None if before else None,
        "note": why or (span.note if span else "") or None,
        "commits": [],
    }
    if git is not None and span is not None:
        row |= _relation(span) | {"note": why or span.note or None}
        row["commits"] = _told(git, span.commits, times(git, span.commits, found, model), remote, files=False)
        if files:
            row["files"] = [_file(change) for change in changes(git, span.a, span.b)]
    return row


def _echo_version(
    git: Git | None, one: _Version, before: _Version | None, found: Known, model: str, *, files: bool
) -> None:
    from modelkeep.cli.commits import times
    from modelkeep.code.history import changes

    span, why = _span(git, one, before)
    words = [click.style(clean(one.name), bold=True), clean(one.code[:_SHORT]) or "no commit"]
    if one.registered:
        words.append(f"registered {_stamp(one.registered)} by {_person(one.by)}")
    if one.deployed:
        deployers = one.row.get("deployers")
        by = f" by {clean(', '.join(map(str, deployers)))}" if isinstance(deployers, list) and deployers else ""
        words.append(f"deployed {_stamp(one.deployed)}{by}")
    if one.row.get("first_prediction"):
        words.append(f"first prediction {_stamp(str(one.row['first_prediction']))}")
    if one.row.get("patch") or one.row.get("dirty"):
        words.append("with changes that were never committed")
    click.echo("  ".join(words))
    if why:
        click.echo(f"  {clean(why)}")
    if git is not None and span is not None and before is not None:
        changed = changes(git, span.a, span.b)
        for line in _summary(before.name, one.name, span, changed):
            click.echo(f"  {line}")
        listed = table(_HEAD, [_row(each, times(git, span.commits, found, model)) for each in span.commits], empty="")
        click.echo("".join(f"    {line}\n" for line in listed.split("\n") if line), nl=False)
        if files:
            _echo_files(changed, "    ")


# Words


class _Links(NamedTuple):
    """Where pages of commits are; empty texts where no address is known."""

    remote: str

    def commit(self, name: str) -> str:
        from modelkeep.code.links import commit_url

        return commit_url(self.remote, name)

    def compare(self, a: str, b: str) -> str:
        from modelkeep.code.links import compare_url

        return compare_url(self.remote, a, b)


def _links(git: Git | None, told: str) -> _Links:
    """Links at the remote that a process told, or at that of the repository here."""
    if told or git is None:
        return _Links(told)
    from modelkeep.code.git import describe

    return _Links(describe(git.root).remote)


def _relation(span: Between) -> dict[str, Json]:
    return {
        "relation": span.relation,
        "ahead": span.count,
        "behind": span.gone_count,
        "base": span.base or None,
        "note": span.note or None,
    }


def _summary(a: str, b: str, span: Between, changed: Sequence[FileChange]) -> list[str]:
    lines = sum(one.added or 0 for one in changed), sum(one.deleted or 0 for one in changed)
    words = {
        "same": "are the same commit",
        "ahead": f"{_count(span.count, 'commit')}",
        "behind": f"{_count(span.gone_count, 'commit')} back",
        "diverged": f"{_count(span.count, 'commit')}, and {span.gone_count} of {clean(a)} are not in {clean(b)}",
        "unrelated": "have no history in common",
    }[span.relation]
    files = f", {_count(len(changed), 'file')}, +{lines[0]} -{lines[1]}" if changed else ""
    head = f"{clean(a)} → {clean(b)}: {words}{files}"
    return [head, *([clean(span.note)] if span.note else [])]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _changed(git: Git, one: Commit) -> list[FileChange]:
    """The files of one commit, against its first parent where it has one that is here."""
    from modelkeep.code.history import changes

    try:
        return changes(git, one.parents[0] if one.parents else "", one.id)
    except Missing:
        return []  # the edge of a shallow clone


def _is_below(change: FileChange, paths: Sequence[str]) -> bool:
    names = [name.rstrip("/") for name in paths]
    return not names or any(path == name or path.startswith(f"{name}/") for name in names
                            for path in (change.path, change.was))  # fmt: skip


def _file(change: FileChange) -> Json:
    return {
        "path": change.path,
        "state": change.state,
        "added": change.added,
        "deleted": change.deleted,
        "was": change.was or None,
    }


def _echo_files(changed: Sequence[FileChange], indent: str) -> None:
    for one in changed:
        lines = "binary" if one.added is None else f"+{one.added} -{one.deleted}"
        name = f"{clean(one.was)} → {clean(one.path)}" if one.was else clean(one.path)
        click.echo(f"{indent}{one.state}  {name}  {lines}")


def _person(by: str) -> str:
    from modelkeep.cli.model.shared import person

    return person(by)


def _moment(event: tuple[str, str, str] | None) -> str:
    return _stamp(event[1]) if event else "-"


def _minute(at_ns: int) -> str:
    from modelkeep.core.times import iso

    return _stamp(iso(at_ns))


def _stamp(text: str) -> str:
    """A time to the minute, UTC."""
    return text[:16].replace("T", " ")


def _say(note: str) -> None:
    if note:
        click.echo(note, err=True)


plugin: click.Command = code
