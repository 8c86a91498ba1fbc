"""Demo: the whole workflow on synthesized sounds, as a first look and a smoke test."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from probekit.analysis.dendrogram import dendrogram
from probekit.cache import layout
from probekit.errors import DataError
from probekit.extraction.extract import extract
from probekit.figures.files import save_drawing
from probekit.figures.tree import draw_dendrogram
from probekit.probes.evaluate import evaluate
from probekit.report import html
from probekit.scores import groups, store
from probekit.scores.store import Result
from probekit.tasks.standin.corpus import write_corpus

EXTRACTORS = ("melstats", "vggish")
WEIGHTS = ("vggish=random:0",)
STEPS = ("synthesize", "extract", "evaluate", "dendrogram", "page")


@dataclass(frozen=True)
class Demo:
    """Files and results of a demo.

    Attributes
    ----------
    corpus : pathlib.Path
        Folder of the synthesized recordings.
    results : list of Result
        One per extractor.
    figures : list of pathlib.Path
        Files of the dendrogram.
    page : pathlib.Path
        The HTML page.
    seconds : float
        Elapsed time.
    """

    corpus: Path
    results: list[Result]
    figures: list[Path]
    page: Path
    seconds: float


def run_demo(
    *,
    cache: str | Path | None = None,
    reports: str | Path | None = None,
    clips: int = 360,
    seed: int = 0,
    step: Callable[[str], None] | None = None,
) -> Demo:
    """Synthesize a corpus, extract, evaluate, draw a dendrogram, and write a page.

    Parameters
    ----------
    cache, reports : str or pathlib.Path, optional
        As for :func:`probekit.extract` and :func:`probekit.evaluate`.
    clips : int >= 300
        Clips to synthesize.
    seed : int >= 0
        Seed of the corpus.
    step : callable, optional
        Called with the name of each step when it starts.

    Raises
    ------
    DataError
        If the demo's folder holds another corpus.
    """
    report_step = step or (lambda name: None)
    start = perf_counter()
    cache, out = layout.cache_root(cache), store.reports_root(reports) / "demo"
    corpus = out / f"corpus-{clips}-{seed}"
    report_step(STEPS[0])
    try:
        write_corpus(corpus, clips=clips, seed=seed)
    except ValueError as error:
        raise DataError(f"{corpus}: {error}") from error
    report_step(STEPS[1])
    extract(EXTRACTORS, task="synth", root=corpus, cache=cache, weights=WEIGHTS)
    report_step(STEPS[2])
    results = evaluate("synth", EXTRACTORS, cache=cache, reports=out, root=corpus)
    report_step(STEPS[3])
    tree = dendrogram("synth", EXTRACTORS[0], cache=cache, root=corpus, space="standardized")
    figures = save_drawing(draw_dendrogram, tree, out / "figures")
    report_step(STEPS[4])
    runs = {result["run"] for result in results}
    run_groups = [
        group
        for group in groups.load_groups("synth", out)
        if runs.issuperset(result["run"] for result in group.results)
    ]
    page = html.write_page(
        out / "index.html",
        run_groups,
        title="probekit demo",
        figures=out / "figures",
        cache=cache,
        audio=[corpus],
    )
    return Demo(corpus, results, figures, page.path, perf_counter() - start)
