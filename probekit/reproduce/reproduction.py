"""A paper's tables and figures, computed here as far as data and weights are here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from probekit.cards import PaperCard
from probekit.cards.paper import Cell, Figure, Table
from probekit.cards.selector import parse_joined
from probekit.errors import ProbekitError
from probekit.reproduce import gains, paper_figures
from probekit.reproduce.assets import Resources
from probekit.reproduce.runs import Epochs, Runs
from probekit.scores.store import Result

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
        Our score with its 95 % interval, where it is computed; a count has no interval.
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
        return any(map(_uses_standins, self.provenance))

    @property
    def difference(self) -> float | None:
        """Ours less the paper's; None where there is nothing to compare."""
        if self.ours is None or self.cell.value is None or self.stand_in:
            return None
        return self.ours - self.cell.value

    @property
    def within_interval(self) -> bool | None:
        """Whether the paper's score lies in our interval; None where there is none to compare."""
        value = self.cell.value
        if self.difference is None or value is None or self.low is None or self.high is None:
            return None
        return self.low <= value <= self.high


@dataclass(frozen=True)
class ReproducedFigure:
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
    figures: tuple[ReproducedFigure, ...]
    rehearsed: bool = False

    @property
    def parts(self) -> list[Score | ReproducedFigure]:
        """All scores and figures but those that the paper quotes from other work."""
        every: list[Score | ReproducedFigure] = [
            score for _, scores in self.tables for score in scores
        ]
        every += self.figures
        return [part for part in every if part.status != PRIOR]

    @property
    def is_complete(self) -> bool:
        """Whether everything was computed."""
        return all(part.status == COMPUTED for part in self.parts)


def reproduce(
    card: PaperCard,
    supply: Resources,
    *,
    reports: Path,
    jobs: int = 1,
    rehearsed: bool = False,
    epochs: int | None = None,
    step: Callable[[str], None] | None = None,
    watch: Epochs | None = None,
) -> Reproduction:
    """Compute what a paper's tables and figures show, as far as data and weights are here.

    Embeddings that are in the cache are used; where the folder of a task is given, what is missing
    is extracted first, and students are trained. Runs are kept in the results store like any
    others.

    Parameters
    ----------
    card : PaperCard
        Of the paper; :func:`probekit.reproduce.arguments.select_parts` leaves out parts of it.
    supply : Supply
        Data, cache and weights.
    reports : pathlib.Path
        Where results are kept; figures go to ``<reports>/<paper>/figures``.
    jobs : int >= 1
        Processes for the folds of a run.
    rehearsed : bool
        Whether the supply is of stand-ins; students are then trained as shortly as their recipe
        allows.
    epochs : int >= 1, optional
        Of students, other than that.
    step : callable, optional
        Called with what is done next.
    watch : callable, optional
        Called while a student is trained: its name, epochs done, epochs at most, numbers.

    Returns
    -------
    Reproduction
        Ours beside the paper's; what cannot be computed says why.
    """
    runs = Runs(supply, reports, jobs, epochs, rehearsed, step or (lambda text: None), watch)
    folder = reports / card.name / "figures"
    cells = [cell for table in card.tables for cell in table.cells()]
    # one extraction serves all cells of an embedding: with frames where any of them needs these
    framed = {(cell.task, cell.embedding) for cell in cells if cell.frames}
    tables = tuple((table, _scores(table, runs, framed)) for table in card.tables)
    figures = tuple(_drawn(figure, runs, folder) for figure in card.figures)
    return Reproduction(card.name, card.title, tables, figures, rehearsed)


def _scores(table: Table, runs: Runs, framed: set[tuple[str, str]]) -> tuple[Score, ...]:
    """Compute a table's scores; what compares rows comes after these."""
    cells = table.cells()
    found = {
        (c.row, c.column): _score(c, runs, (c.task, c.embedding) in framed)
        for c in cells
        if not c.of or not c.computed
    }
    for cell in cells:
        if (cell.row, cell.column) not in found:
            found[cell.row, cell.column] = _gain(cell, found)
    return tuple(found[cell.row, cell.column] for cell in cells)


def _score(cell: Cell, runs: Runs, frames: bool) -> Score:
    """Compute one score, or say why not."""
    if cell.prior:
        return Score(cell, PRIOR)
    if cell.pending:
        return Score(cell, PENDING, why=cell.pending)
    try:
        if cell.count:
            return Score(cell, COMPUTED, float(_counted(cell)))
        result = runs.get_run(cell, frames)
        ours, low, high = _of(result, cell.metric)
    except ProbekitError as error:
        needs = () if cell.count else tuple(runs.missing(cell))
        return Score(cell, MISSING if needs else FAILED, why=str(error), needs=needs)
    return Score(cell, COMPUTED, ours, low, high, result["run"], tuple(result["provenance"]))


def _counted(cell: Cell) -> int:
    """Count the parameters of a method."""
    from probekit.distillation import parameter_count  # imports torch

    teachers = [str(one) for one in parse_joined(cell.embedding)] if cell.embedding else []
    found = parameter_count.count(cell.method, teachers, cell.student)
    return found.training if cell.count == "training" else found.inference


def _gain(cell: Cell, found: dict[tuple[str, str], Score]) -> Score:
    """Compare a row of a table with another one, over columns."""
    rows = [
        [found[row, one] for one in cell.of if (row, one) in found] for row in (cell.row, cell.over)
    ]
    ours, theirs = (
        {one.cell.column: one.ours for one in row if one.ours is not None} for row in rows
    )
    try:
        gain = gains.mean_gain(ours, theirs, cell.of)
    except ProbekitError as error:
        # what is missing for it is said with the scores themselves
        absent = any(one.status == MISSING for row in rows for one in row)
        return Score(cell, MISSING if absent else FAILED, why=str(error))
    used = [one for row in rows for one in row if one.cell.column in {*ours} & {*theirs}]
    return Score(cell, COMPUTED, gain.mean, gain.low, gain.high,
                 provenance=(gain.said, *_shared(used)))  # fmt: skip


def _shared(scores: Sequence[Score]) -> list[str]:
    """Return what is said of all scores, and what says that any of them is made up."""
    every = list(dict.fromkeys(text for one in scores for text in one.provenance))
    return [
        text
        for text in every
        if _uses_standins(text) or all(text in one.provenance for one in scores)
    ]


def _uses_standins(said: str) -> bool:
    return "stand-in data" in said or "random weights" in said


def _drawn(figure: Figure, runs: Runs, folder: Path) -> ReproducedFigure:
    """Draw one figure, or say why not."""
    if figure.pending:
        return ReproducedFigure(figure, PENDING, why=figure.pending)
    runs.tell(f"{figure.where}, {figure.task}")
    try:
        return ReproducedFigure(figure, COMPUTED, *paper_figures.draw(figure, runs, folder))
    except ProbekitError as error:
        needs = tuple(dict.fromkeys(paper_figures.missing_for_figure(figure, runs)))
        return ReproducedFigure(figure, MISSING if needs else FAILED, why=str(error), needs=needs)


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
