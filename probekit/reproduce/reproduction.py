"""Reproduction of a paper: its tables and figures, computed as far as data and weights allow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probekit.cards import PaperCard
from probekit.cards.paper import Cell, Figure, Setting, Table
from probekit.cards.selector import parse_selectors
from probekit.errors import ProbekitError
from probekit.reproduce import paper_figures
from probekit.reproduce.assets import Assets
from probekit.reproduce.epoch_scores import score_epochs
from probekit.reproduce.gains import mean_gain
from probekit.reproduce.runs import EpochProgress, Runs, run_key
from probekit.scores.store import Result

COMPUTED, MISSING, FAILED, PENDING, PRIOR = "computed", "missing", "failed", "pending", "prior"


@dataclass(frozen=True)
class Score:
    """A published score and its reproduction.

    Attributes
    ----------
    cell : Cell
        The published score.
    status : {"computed", "missing", "failed", "pending", "prior"}
        ``missing``: data or weights are missing; ``failed``: they cannot be used; ``pending``:
        probekit cannot compute it; ``prior``: the paper quotes it from other work.
    value, low, high : float or None
        The reproduced score with its 95 % interval; a count has no interval.
    run : str
        Id of the run in the results store.
    provenance : tuple of str
        What must be shown beside the reproduced score.
    reason : str
        Why there is none.
    needs : tuple of str
        What to get, and how.
    """

    cell: Cell
    status: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    run: str = ""
    provenance: tuple[str, ...] = ()
    reason: str = ""
    needs: tuple[str, ...] = ()

    @property
    def uses_standins(self) -> bool:
        """Whether data or weights are stand-ins: the score says nothing about the paper's."""
        return any(map(_mentions_standins, self.provenance))

    @property
    def difference(self) -> float | None:
        """Reproduced minus published score; None if they cannot be compared."""
        if self.value is None or self.cell.value is None or self.uses_standins:
            return None
        return self.value - self.cell.value

    @property
    def within_interval(self) -> bool | None:
        """Whether the published score lies in the interval; None if they cannot be compared."""
        published = self.cell.value
        if self.difference is None or published is None or self.low is None or self.high is None:
            return None
        return self.low <= published <= self.high


@dataclass(frozen=True)
class ReproducedFigure:
    """A published figure and its reproduction.

    Attributes
    ----------
    figure : Figure
        The published figure.
    status : {"computed", "missing", "failed", "pending"}
        As for :class:`Score`.
    caption : str
        Of the reproduction.
    files : tuple of pathlib.Path
        Of the reproduction.
    provenance : tuple of str
        What must be shown beside it.
    reason : str
        Why there is none.
    needs : tuple of str
        What to get, and how.
    """

    figure: Figure
    status: str
    caption: str = ""
    files: tuple[Path, ...] = ()
    provenance: tuple[str, ...] = ()
    reason: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reproduction:
    """Tables and figures of a paper with their reproductions.

    Attributes
    ----------
    paper, title : str
        Name and title of the paper.
    tables : tuple of (Table, tuple of Score)
        Scores row by row.
    figures : tuple of ReproducedFigure
        In the order of the card.
    rehearsed : bool
        Whether all data and weights are stand-ins.
    """

    paper: str
    title: str
    tables: tuple[tuple[Table, tuple[Score, ...]], ...]
    figures: tuple[ReproducedFigure, ...]
    rehearsed: bool = False

    @property
    def parts(self) -> list[Score | ReproducedFigure]:
        """All scores and figures except those that the paper quotes from other work."""
        parts: list[Score | ReproducedFigure] = [s for _, scores in self.tables for s in scores]
        return [part for part in [*parts, *self.figures] if part.status != PRIOR]

    @property
    def is_complete(self) -> bool:
        """Whether everything was computed."""
        return all(part.status == COMPUTED for part in self.parts)


def reproduce(
    card: PaperCard,
    assets: Assets,
    *,
    reports: Path,
    jobs: int = 1,
    dask: str | None = None,
    rehearsed: bool = False,
    epochs: int | None = None,
    step: Callable[[str], None] | None = None,
    progress: EpochProgress | None = None,
) -> Reproduction:
    """Compute a paper's tables and figures, as far as data and weights allow.

    Cached embeddings are used; if the folder of a task is known, missing ones are extracted first,
    and students are trained. Runs are stored like any others.

    Parameters
    ----------
    card : PaperCard
        Card of the paper; :func:`probekit.reproduce.arguments.select_parts` selects parts of it.
    assets : Assets
        Cache, recordings and weights.
    reports : pathlib.Path
        Where results are stored; figures go to ``<reports>/<paper>/figures``.
    jobs : int >= 1
        Processes for the folds of a run, and for networks on several targets.
    dask : str, optional
        Dask cluster in place of processes: its address, or ``"local"``.
    rehearsed : bool
        Whether the assets are stand-ins; students are then trained as briefly as their recipe
        allows.
    epochs : int >= 1, optional
        Epochs of students, instead of these.
    step : callable, optional
        Called with a description of each step before it starts.
    progress : callable, optional
        Called while a student is trained: its name, epochs done, epochs at most, numbers.

    Returns
    -------
    Reproduction
        With reasons for what could not be computed.
    """
    report_step = step or (lambda text: None)
    cells = [cell for table in card.tables for cell in table.cells()]
    settings: list[Setting] = [
        c for c in cells if c.computed and not (c.count or c.of or c.average)
    ]
    for figure in card.figures:
        settings += paper_figures.run_settings(figure) if not figure.pending else []
    total = len({run_key(setting) for setting in settings})
    runs = Runs(assets, reports, jobs, dask, epochs, rehearsed, report_step, progress, total)
    runs.prepare(settings)
    folder = reports / card.name / "figures"
    # one extraction serves all cells of an embedding: with frames if any of them needs these
    with_frames = {(cell.task, cell.embedding) for cell in cells if cell.frames}
    tables = tuple((table, _compute_scores(table, runs, with_frames)) for table in card.tables)
    figures = tuple(_compute_figure(figure, runs, folder) for figure in card.figures)
    return Reproduction(card.name, card.title, tables, figures, rehearsed)


def _compute_scores(
    table: Table, runs: Runs, with_frames: set[tuple[str, str]]
) -> tuple[Score, ...]:
    """Compute the scores of a table; gains come last, since they compare rows."""
    cells = table.cells()
    scores = {
        (c.row, c.column): _compute_score(c, runs, (c.task, c.embedding) in with_frames)
        for c in cells
        if not (c.of or c.average) or not c.computed
    }
    for cell in cells:
        if cell.average and not cell.of and cell.computed:
            scores[cell.row, cell.column] = _compute_mean(cell, scores)
    for cell in cells:
        if (cell.row, cell.column) not in scores:
            scores[cell.row, cell.column] = _compute_gain(cell, scores)
    return tuple(scores[cell.row, cell.column] for cell in cells)


def _compute_score(cell: Cell, runs: Runs, frames: bool) -> Score:
    """Compute a score, or say why not."""
    if cell.prior:
        return Score(cell, PRIOR)
    if cell.pending:
        return Score(cell, PENDING, reason=cell.pending)
    try:
        if cell.count:
            return Score(cell, COMPUTED, float(_count_parameters(cell)))
        result = runs.get_run(cell, frames)
        notes = list(result["provenance"])
        if cell.statistic:
            epochs = score_epochs(result, cell.statistic)
            value, low, high = epochs.mean, epochs.low, epochs.high
            notes.append(epochs.note)
        else:
            value, low, high = _score_and_interval(result, cell.metric)
    except ProbekitError as error:
        needs = () if cell.count else tuple(runs.missing(cell))
        return Score(cell, MISSING if needs else FAILED, reason=str(error), needs=needs)
    return Score(cell, COMPUTED, value, low, high, result["run"], tuple(notes))


def _count_parameters(cell: Cell) -> int:
    """Return the number of parameters of a method."""
    from probekit.distillation import parameter_count  # imports torch

    teachers = [str(s) for s in parse_selectors(cell.embedding)] if cell.embedding else []
    count = parameter_count.count_method(cell.method, teachers, cell.student)
    return count.training if cell.count == "training" else count.inference


def _compute_mean(cell: Cell, scores: dict[tuple[str, str], Score]) -> Score:
    """Compute the mean of some rows in a column."""
    rows = [scores[label, cell.column] for label in cell.average]
    values = [score.value for score in rows if score.value is not None]
    if len(values) < len(rows):
        # what is missing for it is listed with the scores themselves
        missing = any(score.status == MISSING for score in rows)
        text = f"{len(values)} of {len(rows)} rows have a score"
        return Score(cell, MISSING if missing else FAILED, reason=text)
    deviation = float(np.std(values, ddof=1))
    note = f"mean of {len(values)} estimators, standard deviation {deviation:.3f}"
    return Score(cell, COMPUTED, float(np.mean(values)), provenance=(note, *_shared_notes(rows)))


def _compute_gain(cell: Cell, scores: dict[tuple[str, str], Score]) -> Score:
    """Compare a row of a table with another one, over columns."""
    row, baseline = (
        {column: scores[label, column] for column in cell.of if (label, column) in scores}
        for label in (cell.row, cell.over)
    )
    values, baseline_values = (
        {column: score.value for column, score in line.items() if score.value is not None}
        for line in (row, baseline)
    )
    compared = [*row.values(), *baseline.values()]
    try:
        gain = mean_gain(values, baseline_values, cell.of)
    except ProbekitError as error:
        # what is missing for it is listed with the scores themselves
        missing = any(score.status == MISSING for score in compared)
        return Score(cell, MISSING if missing else FAILED, reason=str(error))
    common = values.keys() & baseline_values.keys()
    notes = _shared_notes([score for score in compared if score.cell.column in common])
    return Score(cell, COMPUTED, gain.mean, gain.low, gain.high, provenance=(gain.note, *notes))


def _shared_notes(scores: Sequence[Score]) -> list[str]:
    """Return the notes that all scores share, and those on stand-ins of any of them."""
    notes = list(dict.fromkeys(note for score in scores for note in score.provenance))
    return [
        note
        for note in notes
        if _mentions_standins(note) or all(note in score.provenance for score in scores)
    ]


def _mentions_standins(note: str) -> bool:
    """Tell whether a note says that data or weights are stand-ins."""
    return "stand-in data" in note or "random weights" in note


def _compute_figure(figure: Figure, runs: Runs, folder: Path) -> ReproducedFigure:
    """Draw a figure, or say why not."""
    if figure.pending:
        return ReproducedFigure(figure, PENDING, reason=figure.pending)
    runs.report_step(f"{figure.where}, {figure.task}")
    try:
        return ReproducedFigure(figure, COMPUTED, *paper_figures.draw_figure(figure, runs, folder))
    except ProbekitError as error:
        needs = tuple(dict.fromkeys(paper_figures.missing_for_figure(figure, runs)))
        status = MISSING if needs else FAILED
        return ReproducedFigure(figure, status, reason=str(error), needs=needs)


def _score_and_interval(result: Result, metric: str) -> tuple[float, float | None, float | None]:
    """Return a run's score under a metric, with its interval."""
    if metric == result["metric"]:
        return result["score"], result["interval"]["low"], result["interval"]["high"]
    other = result["also"].get(metric)
    if other is None:
        raise ProbekitError(f"{result['task']}: its card has no metric {metric}")
    if other["score"] is None:
        raise ProbekitError(f"{result['task']}: {metric} is not defined on all test clips")
    return other["score"], other["low"], other["high"]
