"""``probekit weights``: the networks' weights files on this machine."""

from typing import Annotated

import typer

from probekit.cli import options, output

app = typer.Typer(invoke_without_command=True)


@app.callback()
def group(context: typer.Context, json: bool = output.AsJson) -> None:
    """Get and check the networks' weights files; without a command, they are listed.

    [bold]Examples[/bold]

      probekit weights

      probekit weights get vggish
    """
    if options.is_bare_call(context, json):
        list_(json)


@app.command("list")
def list_(json: bool = output.AsJson) -> None:
    """List the weights files of all extractors, and which of them are here.

    [bold]Example[/bold]

      probekit weights list
    """
    from probekit.extractors.weights import inventory, source

    found = inventory.list_weights()
    if json:
        output.as_json([vars(one) for one in found])
        return
    output.table(
        ("extractor", "file", "here", "size", "hash", "from"),
        [
            (
                f.extractor,
                f.role,
                "yes" if f.present else "no",
                "–" if f.size is None else output.size(f.size),
                f.state if f.present else "–",
                f.url or "not public: probekit weights get says more",
            )
            for f in found
        ],
        title=f"weights files, in {source.weights_dir() / 'weights'}",
        numbers="size",
    )
    for one in found:
        if one.fault:
            output.warn(f"{one.path}: {one.fault}. Delete it and get it again.")


@app.command()
def get(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME[:PARAMS]", help="As after -e.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Of all extractors.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Download weights files, and check size and hash; a broken download goes on where it was.

    NAME stands for all files of an extractor, NAME:key=value for those that -e with the same text
    needs. Exit code 1 if one of them is not here afterwards (with --all: if a public one is not).

    [bold]Examples[/bold]

      probekit weights get vggish

      probekit weights get openl3:content=env,input=mel128

      probekit weights get --all
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from probekit import cards
    from probekit.errors import ProbekitError
    from probekit.extractors.weights import inventory
    from probekit.extractors.weights.download import Progress as Tick

    if bool(names) == all_:
        raise ProbekitError("weights get: name extractors, or say --all")
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )

    def begin(name: str) -> Tick:
        line = bar.add_task(name, total=None)
        return lambda done, total: bar.update(line, completed=done, total=total)

    with bar:
        found = inventory.fetch(names or list(cards.card_paths("extractors")), begin)
    if json:
        output.as_json([vars(one) for one in found])
    elif not found:
        output.say(f"{', '.join(names or ())}: there are no weights to get")
    else:
        for one in found:
            output.say(f"{one.extractor}/{one.role}: {one.state}")
            output.say(
                "  " + (one.note.replace("\n", "\n  ") or f"{one.path}\n  SHA-256 {one.sha256}")
            )
    bad = ("failed",) if all_ else ("failed", "not public")
    if any(one.state in bad for one in found):
        raise typer.Exit(1)


@app.command()
def verify(json: bool = output.AsJson) -> None:
    """Read every weights file that is here, and compare its hash with its card.

    Exit code 1 if one differs.

    [bold]Example[/bold]

      probekit weights verify
    """
    from collections import Counter

    from probekit.extractors.weights import inventory

    found = [one for one in inventory.list_weights(verify=True) if one.present]
    wrong = [one for one in found if one.state == "wrong"]
    if json:
        output.as_json([vars(one) for one in found])
    else:
        for one in found:
            output.say(f"{one.extractor}/{one.role}: {one.state}, {one.path}")
            if one.fault:
                output.say(f"  {one.fault}. Delete it, then: probekit weights get {one.extractor}")
        counts = Counter(one.state for one in found)
        output.say(
            f"{len(found)} files here: "
            f"{', '.join(f'{n} {state}' for state, n in counts.items()) or 'none'}"
        )
    if wrong:
        raise typer.Exit(1)
