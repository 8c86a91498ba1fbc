"""Options that several commands share."""

from typing import Annotated

import typer

from probekit.errors import ProbekitError

Cache = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Embedding cache; else PROBEKIT_CACHE, else ./cache."),
]
Reports = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Results; else PROBEKIT_REPORTS, else ./reports/out."),
]
Root = Annotated[
    str | None, typer.Option(metavar="DIR", help="The dataset's folder, as downloaded.")
]
Embedding = Annotated[
    list[str],
    typer.Option(
        "-e",
        "--embedding",
        metavar="NAME",
        help="Extractor; repeat for several. NAME:key=value for parameters, stream= and pool=; "
        "NAME@FINGERPRINT picks among several in the cache.",
    ),
]


def is_bare_call(context: typer.Context, *given: object) -> bool:
    """Tell whether a group of commands was called without one of them.

    Parameters
    ----------
    context : typer.Context
        Of the group.
    *given : object
        What the group's own options came to; each is false where it was not given.

    Returns
    -------
    bool
        Whether the group itself is to do something.

    Raises
    ------
    ProbekitError
        If the group's own options stand before a command, which would not know of them.
    """
    if context.invoked_subcommand is None:
        return True
    if any(given):
        raise ProbekitError(
            f"options stand behind the command: {context.command_path} "
            f"{context.invoked_subcommand} …"
        )
    return False
