"""``probekit doctor``: check an installation."""

from typing import Annotated

import typer

from probekit.cli import options, output


def doctor(
    everything: Annotated[
        bool, typer.Option("--all/--quick", help="Check all networks, or only small ones.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device of the extractors: cpu, cuda …")] = "cpu",
    cache: options.Cache = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Check versions, devices, decoders, folders, extractors and weights; say what to do.

    Extractors run with random weights, and are compared with numbers that come with probekit. Exit
    code 1 if there is an error.

    [bold]Examples[/bold]

      probekit doctor

      probekit doctor --all --device cuda
    """
    from probekit.doctor import run_checks

    with output.make_progress("") as bar:
        line = bar.add_task("doctor", total=None, note="")
        checks = run_checks(
            everything=everything,
            device=device,
            cache=cache,
            reports=reports,
            step=lambda name: bar.update(line, description=name, advance=1),
        )
    errors = [check for check in checks if check.state == "error"]
    if json:
        output.print_json([check.to_dict() for check in checks])
    else:
        output.print_table(
            ("", "check", "state", "result"),
            [(check.part, check.name, check.state, check.result) for check in checks],
        )
        advice: dict[tuple[bool, str, str], list[str]] = {}
        for check in checks:
            if check.advice:
                key = (check.state != "error", check.state, check.advice)
                advice.setdefault(key, []).append(check.name)
        for (_, state, text), names in sorted(advice.items()):
            output.say(f"{state}: {', '.join(names)}: {text}")
        output.say(f"{len(errors)} of {len(checks)} checks failed")
    if errors:
        raise typer.Exit(1)
