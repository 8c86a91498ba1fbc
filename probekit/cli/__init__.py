"""The command ``probekit``: one file a command, imports inside the bodies, errors in one line."""

import sys

import typer

from probekit.errors import ProbekitError

app = typer.Typer(
    name="probekit",
    help="How much does an audio embedding know, and what did the probe learn?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _register() -> None:
    from probekit.cli import analyze, cache, cards, demo, evaluate, extract, results

    app.command("extract")(extract.extract)
    app.command("evaluate")(evaluate.evaluate)
    app.add_typer(analyze.app, name="analyze")
    app.add_typer(results.app, name="results")
    app.add_typer(cache.app, name="cache")
    app.add_typer(cards.tasks, name="tasks")
    app.add_typer(cards.extractors, name="extractors")
    app.command("demo")(demo.demo)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
    cards: str = typer.Option(
        None, "--cards", metavar="DIR", help="Folder of your own cards (also PROBEKIT_CARDS)."
    ),
) -> None:
    if version:
        import probekit

        typer.echo(f"probekit {probekit.__version__}")
        raise typer.Exit
    if cards is not None:
        import os

        from probekit.errors import CardError

        if not os.path.isdir(cards):  # noqa: PTH112 - pathlib is not needed for a check
            raise CardError(f"--cards {cards}: no such folder")
        others = os.environ.get("PROBEKIT_CARDS", "")
        os.environ["PROBEKIT_CARDS"] = os.pathsep.join(filter(None, [cards, others]))


def main() -> None:
    """Run the command line: exit code 0 done, 1 done with failures listed, 2 could not be done."""
    _register()
    try:
        app()
    except ProbekitError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        print(  # noqa: T201
            "interrupted; what was finished is kept, the same command goes on from there",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
