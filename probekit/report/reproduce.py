"""A paper's tables and figures, computed here as far as data and weights are here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probekit.cards import PaperCard
from probekit.errors import ProbekitError
from probekit.papers import Cell, Figure, Table
from probekit.probes import recipes
from probekit.probes.evaluation import evaluate
from probekit.probes.results import Result
from probekit.report.supply import Supply

COMPUTED, MISSING, FAILED, PENDING, PRIOR = "computed", "missing", "failed", "pending", "prior"


@dataclass(frozen=True)
class Score:
    """A published score and ours beside it.

    Attributes
    ----------
    cell : Cell
        What the paper says.
    status : {"computed", "missing", "failed", "pending", "prior"}
        ``missing``: data or weights are not here; ``failed``: they are, but do not do; ``pending``:
        nothing here can compute it; ``prior``: the paper quotes it from other work.
    ours, low, high : float or None
        Our score with its 95 % interval, where it is computed.
    run : str
        The run's name in the results store.
    provenance : tuple of str
        What must be shown beside our score.
    why : str
        Why there is none.
    needs : tuple of str
        What to get, and how.
    """

    cell: Cell
    status: str
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    run: str = ""
    provenance: tuple[str, ...] = ()
    why: str = ""
    needs: tuple[str, ...] = ()

    @property
    def stand_in(self) -> bool:
        """Whether our score says nothing about the paper's: made-up data or weights."""
        return any(t.startswith(("stand-in data", "random weights")) for t in self.provenance)

    @property
    def difference(self) -> float | None:
        """Ours less the paper's; None where there is nothing to compare."""
        if self.ours is None or self.stand_in:
            return None
        return self.ours - self.cell.value

    @property
    def inside(self) -> bool | None:
        """Whether the paper's score lies in our interval; None where there is none to compare."""
        if self.difference is None or self.low is None or self.high is None:
            return None
        return self.low <= self.cell.value <= self.high


@dataclass(frozen=True)
class Drawn:
    """A figure of the paper, and ours.

    Attributes
    ----------
    figure : Figure
        What the card says.
    status : {"computed", "missing", "failed", "pending"}
        As for :class:`Score`.
    caption : str
        Of ours.
    files : tuple of pathlib.Path
        Of ours.
    provenance : tuple of str
        What must be shown beside it.
    why : str
        Why there is none.
    needs : tuple of str
        What to get, and how.
    """

    figure: Figure
    status: str
    caption: str = ""
    files: tuple[Path, ...] = ()
    provenance: tuple[str, ...] = ()
    why: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reproduction:
    """What came of a paper.

    Attributes
    ----------
    paper, title : str
        Which.
    tables : tuple of (Table, tuple of Score)
        Scores row by row.
    figures : tuple of Drawn
        In the order of the card.
    rehearsed : bool
        Whether everything is of stand-in data and random weights.
    """

    paper: str
    title: str
    tables: tuple[tuple[Table, tuple[Score, ...]], ...]
    figures: tuple[Drawn, ...]
    rehearsed: bool = False

    @property
    def parts(self) -> list[Score | Drawn]:
        """All scores and figures but those that the paper quotes from other work."""
        every: list[Score | Drawn] = [score for _, scores in self.tables for score in scores]
        every += self.figures
        return [part for part in every if part.status != PRIOR]

    @property
    def whole(self) -> bool:
        """Whether everything was computed."""
        return all(part.status == COMPUTED for part in self.parts)


@dataclass
class _Work:
    """What all scores and figures of a paper share."""

    supply: Supply
    reports: Path
    figures: Path
    jobs: int
    tell: Callable[[str], None]
    runs: dict[tuple[Any, ...], Result | ProbekitError] = field(default_factory=dict)

    def score(self, cell: Cell, frames: bool) -> Score:
        """Compute one score, or say why not."""
        if cell.prior:
            return Score(cell, PRIOR)
        if cell.pending:
            return Score(cell, PENDING, why=cell.pending)
        try:
            result = self._result(cell, frames)
            ours, low, high = _of(result, cell.metric)
        except ProbekitError as error:
            needs = tuple(self.supply.lacking(cell.task, cell.embedding))
            return Score(cell, MISSING if needs else FAILED, why=str(error), needs=needs)
        said = tuple(result["provenance"])
        return Score(cell, COMPUTED, ours, low, high, result["run"], said)

    def _result(self, cell: Cell, frames: bool) -> Result:
        """Return the run of a cell; several metrics are of one run."""
        key = (cell.task, cell.embedding, cell.preset, cell.probe, cell.fraction)
        if key not in self.runs:
            try:
                self.runs[key] = self._run(cell, frames)
            except ProbekitError as error:
                self.runs[key] = error
        found = self.runs[key]
        if isinstance(found, ProbekitError):
            raise found
        return found

    def _run(self, cell: Cell, frames: bool) -> Result:
        self.tell(f"{cell.task}, {cell.embedding}")
        [result] = evaluate(
            cell.task,
            [self.supply.embedding(cell.task, _followed(cell), frames=frames)],
            cache=self.supply.cache,
            root=self.supply.root(cell.task),
            reports=self.reports,
            probe=cell.probe,
            preset=cell.preset,
            fractions=(cell.fraction,),
            jobs=self.jobs,
        )
        return result

    def draw(self, figure: Figure) -> Drawn:
        """Draw one figure, or say why not."""
        if figure.pending:
            return Drawn(figure, PENDING, why=figure.pending)
        self.tell(f"{figure.where}, {figure.task}")
        try:
            text = self.supply.embedding(figure.task, _followed(figure))
            return _drawn(figure, text, self.supply, self.figures)
        except ProbekitError as error:
            needs = tuple(self.supply.lacking(figure.task, figure.embedding))
            return Drawn(figure, MISSING if needs else FAILED, why=str(error), needs=needs)


def reproduce(
    card: PaperCard,
    supply: Supply,
    *,
    reports: Path,
    jobs: int = 1,
    rehearsed: bool = False,
    step: Callable[[str], None] | None = None,
) -> Reproduction:
    """Compute what a paper's tables and figures show, as far as data and weights are here.

    Embeddings that are in the cache are used; where the folder of a task is given, what is missing
    is extracted first. Runs are kept in the results store like any others.

    Parameters
    ----------
    card : PaperCard
        Of the paper; :func:`probekit.report.given.chosen` leaves out parts of it.
    supply : Supply
        Data, cache and weights.
    reports : pathlib.Path
        Where results are kept; figures go to ``<reports>/<paper>/figures``.
    jobs : int >= 1
        Processes for the folds of a run.
    rehearsed : bool
        Whether the supply is of stand-ins.
    step : callable, optional
        Called with what is done next.

    Returns
    -------
    Reproduction
        Ours beside the paper's; what cannot be computed says why.
    """
    work = _Work(
        supply, reports, reports / card.name / "figures", jobs, step or (lambda text: None)
    )
    cells = [cell for table in card.tables for cell in table.cells()]
    # one extraction serves all cells of an embedding: with frames where any of them needs these
    framed = {(cell.task, cell.embedding) for cell in cells if cell.frames}
    tables = tuple(
        (table, tuple(work.score(c, (c.task, c.embedding) in framed) for c in table.cells()))
        for table in card.tables
    )
    figures = tuple(work.draw(figure) for figure in card.figures)
    return Reproduction(card.name, card.title, tables, figures, rehearsed)


def _followed(one: Cell | Figure) -> str:
    """Return the embedding to extract: of the stream that the preset takes, where there is one."""
    text = one.embedding
    return recipes.of(one.preset, text).applied(text) if one.preset else text


def _of(result: Result, metric: str) -> tuple[float, float | None, float | None]:
    """Return a run's score under a metric, with its interval."""
    if metric == result["metric"]:
        return result["score"], result["interval"]["low"], result["interval"]["high"]
    own = result["also"].get(metric)
    if own is None or own["score"] is None:
        raise ProbekitError(
            f"{result['task']}: {metric} is not defined on all test clips"
            if own is not None
            else f"{result['task']}: its card has no metric {metric}"
        )
    return own["score"], own["low"], own["high"]


def _drawn(figure: Figure, text: str, supply: Supply, folder: Path) -> Drawn:
    """Make a figure by the analysis that its card names."""
    from probekit.analysis import correlation, dendrogram, projection
    from probekit.report.figures import dendrogram as trees
    from probekit.report.figures import matrix, scatter

    places: dict[str, Any] = {
        "cache": supply.cache,
        "root": supply.root(figure.task),
        "preset": figure.preset,
    }
    options: dict[str, Any] = dict(figure.options)
    if figure.kind == "correlation":
        pairs = correlation.correlation(figure.task, text, **places, **options)
        files, found = matrix.save_correlation(pairs, folder), pairs.caption
        said = pairs.weights.provenance
    else:
        own = {} if figure.kind == "projection" else options
        tree = dendrogram.dendrogram(figure.task, text, **places, **own)
        said = tree.weights.provenance
        if figure.kind == "projection":
            points = projection.of_classes(tree, **options)
            files, found = scatter.save(points, folder), points.caption
        else:
            files, found = trees.save(tree, folder), tree.caption
    return Drawn(figure, COMPUTED, found, tuple(files), tuple(said))
