"""``probekit demo``: the whole workflow on synthesized sounds."""

from typing import Annotated

import typer

from probekit.cli import options, output


def demo(
    cache: options.Cache = None,
    reports: options.Reports = None,
    clips: Annotated[int, typer.Option(min=300, help="Clips to synthesize.")] = 360,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the corpus.")] = 0,
) -> None:
    """Synthesize sounds, extract, evaluate, draw, and write a page: needs no data and no network.

    [bold]Example[/bold]

      probekit demo
    """
    from probekit.cli.evaluate import show
    from probekit.demo import STEPS, run_demo

    with output.make_progress("") as bar:
        line = bar.add_task("demo", total=len(STEPS), note="")

        def step(name: str) -> None:
            bar.update(line, description=name)
            bar.advance(line)

        result = run_demo(cache=cache, reports=reports, clips=clips, seed=seed, step=step)
    show(result.results)
    output.say(
        f"\nThe corpus is synthetic ({clips} clips, seed {seed}); vggish has random weights: "
        "these scores say nothing about real sounds."
    )
    output.say(f"audio   {result.corpus}")
    output.say(f"figure  {result.figures[0]}")
    output.say(f"page    {result.page}")
    output.say(f"took {output.format_duration(result.seconds)}")
