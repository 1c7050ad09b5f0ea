"""The command line: one file a command in `commands`, exit codes by the error table, `--json` on all that read."""

from __future__ import annotations

import gc
import os
import sys

from modelkeep.core.errors import Error


def main() -> None:
    """Runs `modelkeep` and ends the process with its exit code."""
    gc.set_threshold(50_000, 20, 20)  # a command makes many small objects and ends: looking for circles is in vain
    import click

    from modelkeep.cli.commands import modelkeep

    try:
        code = modelkeep.main(standalone_mode=False, prog_name="modelkeep")
    except Error as error:
        report(error)
        code = error.exit_code
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output is gone: nothing left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def report(error: Error) -> None:
    """Prints an error on stderr: what is wrong and where, then what to do next."""
    import click

    click.secho(f"{error.name}: {error.message}", fg="red", err=True)
    if error.hint:
        click.echo(error.hint, err=True)
