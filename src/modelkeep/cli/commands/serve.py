"""`modelkeep serve`: the server."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data folder.  [default: .modelkeep]")
@click.option("--host", help="Address to listen on; another than loopback needs a token.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 7300]")
@click.option(
    "--clock",
    type=click.Choice(["wall", "events"]),
    help="What rules take for now: this machine's time, or the newest prediction's.  [default: wall]",
)
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings.  [default: modelkeep.yaml]",
)
def serve(data: Path | None, host: str | None, port: int | None, clock: str | None, settings: Path | None) -> None:
    """Take records and answer questions until Ctrl-C.

    Options win over MODELKEEP_* variables, these over modelkeep.yaml.
    """
    from modelkeep.cli.extra import need

    need("server", "uvicorn", "duckdb", "pyarrow")
    from modelkeep.server import run
    from modelkeep.server.settings import load

    run.serve(load(settings, data=data, host=host, port=port, clock=clock))


plugin: click.Command = serve
