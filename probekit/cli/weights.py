"""``probekit weights``: weights files of the networks on this machine."""

from typing import Annotated

import typer

from probekit.cli import options, output

app = typer.Typer(invoke_without_command=True)

_STATE_WORDS = {"right": "ok", "wrong": "mismatch"}  # states of JSON, as shown in text


@app.callback()
def group(context: typer.Context, json: bool = output.AsJson) -> None:
    """Download and verify weights files of networks; without a command, list them.

    [bold]Examples[/bold]

      probekit weights

      probekit weights get vggish
    """
    if options.is_bare_call(context, json):
        list_(json)


@app.command("list")
def list_(json: bool = output.AsJson) -> None:
    """List the weights files of all extractors, and which of them are on this machine.

    [bold]Example[/bold]

      probekit weights list
    """
    from probekit.extractors.weights import inventory, source

    files = inventory.list_weights()
    if json:
        output.print_json([file.to_dict() for file in files])
        return
    output.print_table(
        ("extractor", "file", "present", "size", "hash", "from"),
        [
            (
                file.extractor,
                file.role,
                "yes" if file.present else "no",
                "–" if file.size is None else output.format_size(file.size),
                _STATE_WORDS.get(file.state, file.state) if file.present else "–",
                file.url or "not public: see probekit weights get",
            )
            for file in files
        ],
        title=f"weights files, in {source.weights_folder() / 'weights'}",
        numbers="size",
        keys=2,
        below="from",
    )
    for file in files:
        if file.fault:
            output.warn(f"{file.path}: {file.fault}. Delete it and download it again.")


@app.command()
def get(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME[:PARAMS]", help="Extractor, written as after -e."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Weights of all extractors.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Download weights files, and verify size and hash; an interrupted download is resumed.

    NAME stands for all files of an extractor, NAME:key=value for those that -e with the same text
    needs. Exit code 1 if one of them is missing afterwards (with --all: if a public one is).

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
    from probekit.extractors.weights.download import Progress as ProgressCallback

    if bool(names) == all_:
        raise ProbekitError("weights get needs either names of extractors or --all")
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

    def begin(name: str) -> ProgressCallback:
        task = bar.add_task(name, total=None)
        return lambda received, total: bar.update(task, completed=received, total=total)

    with bar:
        results = inventory.fetch(names or list(cards.card_paths("extractors")), begin)
    if json:
        output.print_json([vars(result) for result in results])
    elif not results:
        output.say(f"{', '.join(names or ())}: no weights to get")
    else:
        for result in results:
            output.say(f"{result.extractor}/{result.role}: {result.state}")
            facts = result.note or f"{result.path}\nSHA-256 {result.sha256}"
            output.say("  " + facts.replace("\n", "\n  "))
    failures = ("failed",) if all_ else ("failed", "not public")
    if any(result.state in failures for result in results):
        raise typer.Exit(1)


@app.command()
def verify(json: bool = output.AsJson) -> None:
    """Read every weights file on this machine, and compare its hash with its card.

    Exit code 1 if one differs.

    [bold]Example[/bold]

      probekit weights verify
    """
    from collections import Counter

    from probekit.extractors.weights import inventory

    files = [file for file in inventory.list_weights(verify=True) if file.present]
    if json:
        output.print_json([file.to_dict() for file in files])
    else:
        for file in files:
            state = _STATE_WORDS.get(file.state, file.state)
            output.say(f"{file.extractor}/{file.role}: {state}, {file.path}")
            if file.fault:
                output.say(
                    f"  {file.fault}. Delete it, then: probekit weights get {file.extractor}"
                )
        counts = Counter(_STATE_WORDS.get(file.state, file.state) for file in files)
        output.say(
            f"{len(files)} files present: "
            f"{', '.join(f'{n} {state}' for state, n in counts.items()) or 'none'}"
        )
    if any(file.state == "wrong" for file in files):
        raise typer.Exit(1)
