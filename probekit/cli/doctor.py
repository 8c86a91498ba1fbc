"""``probekit doctor``: is this installation right."""

from typing import Annotated

import typer

from probekit.cli import options, output


def doctor(
    everything: Annotated[
        bool, typer.Option("--all/--quick", help="Run large networks too, or only small ones.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where extractors run: cpu, cuda …")] = "cpu",
    cache: options.Cache = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Look at versions, devices, decoders, folders, extractors and weights, and say what to do.

    Extractors are run with random weights, and compared with numbers that come with probekit. Exit
    code 1 if something is wrong; what is only worth knowing is a note.

    [bold]Examples[/bold]

      probekit doctor

      probekit doctor --all --device cuda
    """
    from probekit import doctor as examination

    with output.progress("") as bar:
        line = bar.add_task("doctor", total=None, note="")
        found = examination.run_checks(
            everything=everything,
            device=device,
            cache=cache,
            reports=reports,
            step=lambda name: bar.update(line, description=name, advance=1),
        )
    wrong = [one for one in found if one.state == "wrong"]
    if json:
        output.as_json([vars(one) for one in found])
    else:
        output.table(
            ("", "what", "state", "found"),
            [(one.part, one.name, one.state, one.found) for one in found],
        )
        advised: dict[tuple[bool, str, str], list[str]] = {}
        for one in found:
            if one.advice:
                key = (one.state != "wrong", one.state, one.advice)
                advised.setdefault(key, []).append(one.name)
        for (_, state, advice), names in sorted(advised.items()):
            output.say(f"{state}: {', '.join(names)}: {advice}")
        output.say(f"{len(wrong)} of {len(found)} things are wrong")
    if wrong:
        raise typer.Exit(1)
