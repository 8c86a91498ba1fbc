"""Options that several commands share."""

from typing import Annotated

import typer

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
