"""`modelkeep diff`: which tracked files differ, and how tables among them do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from modelkeep.cli.extra import need
from modelkeep.cli.output import clean, json_option, print_json, rows_of

if TYPE_CHECKING:
    from modelkeep.core.shapes import Json
    from modelkeep.data.progress import Progress
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.diff import Difference, FileChange, TableChange

_SHORT: Final = 8


@click.command()
@click.argument("a_rev", metavar="[A]", default="HEAD")
@click.argument("b_rev", metavar="[B]", default="")
@click.option("--targets", multiple=True, help="Only this file or folder; repeatable.  [default: all]")
@click.option("--columns/--no-columns", default=True, help="Compare changed CSV and Parquet files.  [default: yes]")
@click.option("--show-hash", is_flag=True, help="Show the objects' names.")
@click.option("--hide-missing", is_flag=True, help="Leave out what is not in the cache.")
@json_option
def diff(
    a_rev: str,
    b_rev: str,
    targets: tuple[str, ...],
    columns: bool,
    show_hash: bool,
    hide_missing: bool,
    as_json: bool,
) -> None:
    """Show which tracked files differ between two revisions.

    A is the old revision [default: HEAD], B the new one [default: the workspace]. Of changed CSV and Parquet files
    whose versions are here, also how columns, rows and distributions differ.
    """
    need("data", "blake3", "pathspec")
    from modelkeep.cli.progress import shown
    from modelkeep.data.repository import Repository
    from modelkeep.data.verbs.diff import diff as compared

    with shown() as progress:
        repo = Repository.find()
        found = compared(repo, a_rev, b_rev, targets=targets, progress=progress)
        changes = _tables(repo, found, progress) if columns else []
    missing = not (b_rev or hide_missing)
    if as_json:
        answer = found.json(hashes=show_hash, missing=missing)
        if changes:
            answer["tables"] = {one.path: _table_json(one) for one in changes}
        print_json(answer)
        return
    _print(found, show_hash, missing)
    for one in changes:
        click.echo(_table(one))


def _tables(repo: Repository, found: Difference, progress: Progress) -> list[TableChange]:
    from modelkeep.data.datasets.tables import is_table
    from modelkeep.data.verbs.diff import tables

    if not any(is_table(Path(one.path)) for one in found.modified if one.is_file):
        return []
    if any(find_spec(name) is None for name in ("duckdb", "pyarrow", "numpy")):
        click.echo("Columns are not compared without: pip install 'modelkeep[server]'", err=True)
        return []
    from modelkeep.quality.compare import compare

    return list(tables(repo, found, measures=compare, progress=progress))


def _print(found: Difference, hashes: bool, missing: bool) -> None:
    kinds = {"added": found.added, "deleted": found.deleted, "renamed": found.renamed, "modified": found.modified}
    if missing:
        kinds["not in cache"] = found.not_in_cache
    folded = _folded(found)
    for title, changes in kinds.items():
        lines = [_line(one, hashes) for one in changes if title == "not in cache" or one.path not in folded]
        if lines:
            click.echo("\n".join([f"{title.capitalize()}:", *lines, ""]))
    for folder, partitions in found.partitions.items():
        click.echo(f"Partitions of {clean(folder)}:")
        for one in partitions:
            counts = {"added": one.added, "deleted": one.deleted, "modified": one.modified}
            told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
            click.echo(f"    partition {one.state}  {clean(one.partition)} ({told})")
        click.echo()
    for folder in found.unknown:
        click.echo(f"{clean(folder)}: its list of files is not here: modelkeep fetch --all-commits", err=True)
    counts = {title: sum(not one.is_dir for one in changes) for title, changes in kinds.items()}
    told = ", ".join(f"{count} {title}" for title, count in counts.items() if count)
    if told:
        click.echo(f"files summary: {told}")


def _folded(found: Difference) -> set[str]:
    """Files that are told of by their partition: it came or went as a whole."""
    whole = {
        f"{folder}/{one.partition}"
        for folder, partitions in found.partitions.items()
        for one in partitions
        if one.state in {"added", "deleted"}
    }
    if not whole:
        return set()
    folders = list(found.partitions)
    return {one.path for one in (*found.added, *found.deleted) if _partition(one.path, folders) in whole}


def _partition(path: str, folders: Iterable[str]) -> str:
    from modelkeep.data.datasets.partitions import partition_of

    for folder in folders:
        if path.startswith(folder + "/"):
            return f"{folder}/{partition_of(path[len(folder) + 1 :])}"
    return ""


def _line(one: FileChange, hashes: bool) -> str:
    slash = "/" if one.is_dir else ""
    name = f"{one.old_path}{slash} -> {one.path}{slash}" if one.old_path else one.path + slash
    oids = [version.oid[:_SHORT] for version in (one.old, one.new) if version is not None]
    told = "..".join(dict.fromkeys(oids)) + "  " if hashes else ""
    return f"    {told}{clean(name)}"


def _table_json(one: TableChange) -> Json:
    return one.difference.json() if one.difference is not None else {"reason": one.reason}


def _table(one: TableChange) -> str:
    name = clean(one.path)
    if one.difference is None:
        return f"{name}: columns not compared: {clean(one.reason)}"
    found = one.difference
    lines = [f"{name}: {found.old_rows} rows before, {found.new_rows} now (+{found.rows_added} -{found.rows_removed})"]
    lines += [f"    column added    {clean(column)} ({kind})" for column, kind in found.columns_added]
    lines += [f"    column removed  {clean(column)} ({kind})" for column, kind in found.columns_removed]
    for each in found.retyped:
        why = f", since {each.cell}" if each.cell is not None else ""
        lines.append(f"    column retyped  {clean(each.column)}: {each.old} -> {each.new}{clean(why)}")
    for share in found.nulls:
        lines.append(f"    missing values  {clean(share.column)}: {share.old:.1%} -> {share.new:.1%}")
    return "\n".join([*lines, *_drift(found.drift.json() if found.drift is not None else {})])


def _drift(answer: dict[str, Json]) -> Sequence[str]:
    """One line for each column whose distribution changed."""
    return [
        f"    drift           {clean(str(row.get('column')))}: {_measures(row.get('measures'))}"
        for row in rows_of(answer, "rows")
        if row.get("drifted")
    ]


def _measures(measures: Json) -> str:
    if not isinstance(measures, dict):
        return "changed"
    told = [f"{name} {_number(verdict)}" for name, verdict in measures.items() if isinstance(verdict, dict)]
    return ", ".join(told) or "missing values"


def _number(verdict: dict[str, Json]) -> str:
    value = verdict.get("value")
    return f"{value:.3g}" if isinstance(value, int | float) else "-"


plugin: click.Command = diff
