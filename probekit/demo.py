"""The whole path on synthesized sounds: a first look, and a check that everything works."""

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
    """What a demonstration made.

    Attributes
    ----------
    corpus : pathlib.Path
        The synthesized recordings.
    results : list of Result
        One for each extractor.
    figures : list of pathlib.Path
        The dendrogram's files.
    page : pathlib.Path
        The summary.
    seconds : float
        What it took.
    """

    corpus: Path
    results: list[Result]
    figures: list[Path]
    page: Path
    seconds: float


def run(
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
        Called with the name of each step as it begins.

    Returns
    -------
    Demo
        Where everything is.

    Raises
    ------
    DataError
        If the demo's folder holds another corpus.
    """
    tell = step or (lambda name: None)
    begin = perf_counter()
    where, out = layout.cache_root(cache), store.reports_root(reports) / "demo"
    corpus = out / f"corpus-{clips}-{seed}"
    tell(STEPS[0])
    try:
        write_corpus(corpus, clips=clips, seed=seed)
    except ValueError as error:
        raise DataError(f"{corpus}: {error}") from error
    tell(STEPS[1])
    extract(EXTRACTORS, task="synth", root=corpus, cache=where, weights=WEIGHTS)
    tell(STEPS[2])
    found = evaluate("synth", EXTRACTORS, cache=where, reports=out, root=corpus)
    tell(STEPS[3])
    tree = dendrogram("synth", EXTRACTORS[0], cache=where, root=corpus, space="standardized")
    drawn = save_drawing(draw_dendrogram, tree, out / "figures")
    tell(STEPS[4])
    runs = {result["run"] for result in found}
    entries = [
        one
        for one in groups.load_groups("synth", out)
        if runs.issuperset(result["run"] for result in one.results)
    ]
    written = html.write(
        out / "index.html",
        entries,
        title="probekit demo",
        figures=out / "figures",
        cache=where,
        audio=[corpus],
    )
    return Demo(corpus, found, drawn, written.path, perf_counter() - begin)
