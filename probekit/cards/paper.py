"""Schema of a paper's presets, tables and figures.

They are parts of a paper's card (:class:`probekit.cards.PaperCard`). A table is written as printed:
rows of values under columns. What its cells have in common (task, embedding, probe …) is declared
for the table, a column or a row; of several declarations the last one counts.

A cell is one of five kinds: the score of a probe; that of a student, which is trained on the task
with teachers; that of a ``network``, which is trained without; a number of parameters (``count``);
the mean difference of two rows over some columns (``of``, ``over``).
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _FrozenModel(BaseModel):
    """Base of all models: immutable, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Preset(_FrozenModel):
    """Probe settings of a paper for one extractor."""

    probe: str = "linear"
    steps: list[str] = ["standardize"]
    stream: str = ""
    pool: list[str] = ["mean"]
    description: str = ""


class Setting(_FrozenModel):
    """Settings behind a score, as far as a table, a column or a row declares them."""

    task: str = ""
    embedding: str = ""  # a selector; with a student: its teachers
    preset: str = ""
    probe: str = "linear"
    student: str = ""  # as after --student; the next five fields apply to students only
    method: str = "none"
    alpha: float | None = Field(default=None, gt=0)
    init: str = ""  # the extractor whose weights the student starts from
    recipe: str = "default"
    alignment: Literal["time", "paper"] = "time"
    network: str = ""  # as after --network; the next six fields, init and recipe apply to it
    objective: Literal["supervised", "contrastive"] = "supervised"
    unlabeled: str = ""  # a task, or train: as after --unlabeled
    mixing: bool = True
    warm_up: int | None = Field(default=None, ge=1)
    targets: str = ""  # combinations of kim2018's targets, separated by spaces; their mean
    sharing: Literal["", "stn", "mtn", "wstn"] = ""  # how these are learned
    statistic: Literal["", "best", "last"] = ""  # of the test scores of all epochs
    name: str = ""  # of the network's runs
    count: Literal["", "training", "inference"] = (
        ""  # count the parameters of a method; needs no data
    )
    average: list[str] = []  # rows whose mean this one is
    of: list[str] = []  # columns over which this row minus the row ``over`` is averaged
    over: str = ""
    metric: str = ""
    fraction: float = Field(default=1.0, gt=0, le=1)  # of the training labels
    frames: bool = False  # whether frames are needed
    prior: bool = False  # the paper quotes the score from other work; it is not computed
    pending: str = ""  # why it cannot be computed
    differs: str = ""  # known differences between the paper's run and probekit's

    @property
    def computed(self) -> bool:
        """Whether probekit can compute the score."""
        return not (self.prior or self.pending)

    @property
    def trains(self) -> bool:
        """Whether a student or network is trained."""
        return bool(self.student or self.network or self.targets)

    @property
    def networks(self) -> list[str]:
        """Selectors of the extractors that are needed."""
        return [text for text in (self.embedding, self.init) if text]

    @property
    def unlabeled_task(self) -> str:
        """The other task whose clips are read without labels; empty if there is none."""
        return "" if self.unlabeled == "train" else self.unlabeled

    def missing_fields(self) -> list[str]:
        """Return the names of required fields that are not declared."""
        if not self.computed or self.of or self.average:
            return []
        required = ["task", "metric", "embedding"]
        if self.network:
            required = ["task", "metric", "name"]
        if self.targets:
            required = ["task", "metric", "sharing"]
        if self.count:
            required = ["student", "metric"]
        elif self.student:
            required = ["task", "metric"]
        return [name for name in required if not getattr(self, name)]


class Column(Setting):
    """A column of a paper's table."""

    label: str


class Row(Setting):
    """A row of a paper's table: a value per column, null where the paper has none."""

    label: str
    # in the units of the metric; proportions from 0 to 1
    values: list[float | None]
    spreads: list[float | None] = []  # what the paper prints after ±, if it does


class Cell(Setting):
    """A published score with its settings."""

    row: str
    column: str
    value: float | None  # None: not in the paper, but computed
    spread: float | None = None
    remarks: list[str] = []  # the items of differs


class Table(Setting):
    """A table of a paper."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    where: str
    notes: list[str] = []
    unpublished: bool = False  # whether scores without a published number are computed as well
    by_request: bool = False  # computed only if it is named (--only): another reading of a table
    columns: list[Column]
    rows: list[Row]

    @model_validator(mode="after")
    def _check_table(self) -> Self:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"{self.name}, row {row.label!r}: {len(row.values)} values for "
                    f"{len(self.columns)} columns"
                )
            if row.spreads and len(row.spreads) != len(row.values):
                raise ValueError(
                    f"{self.name}, row {row.label!r}: {len(row.spreads)} spreads for "
                    f"{len(row.values)} values"
                )
        cells = self.cells()
        if not cells:
            raise ValueError(f"{self.name}: no values")
        labels = {row.label for row in self.rows}, {column.label for column in self.columns}
        for cell in cells:
            missing = cell.missing_fields()
            if missing:
                fields = " and no ".join(missing)
                raise ValueError(f"{self.name}, {cell.row!r}, {cell.column!r}: no {fields}")
            for name, known in (
                *((name, labels[0]) for name in cell.average),
                *([(cell.over, labels[0])] if cell.of else []),
                *((name, labels[1]) for name in cell.of),
            ):
                if name not in known:
                    raise ValueError(f"{self.name}, {cell.row!r}: {name!r} is no row or column")
        return self

    def cells(self) -> list[Cell]:
        """Return the published scores, row by row.

        Cells without a published score are omitted, except in tables with ``unpublished``; there,
        a row is not compared with itself.
        """
        shared = set(Setting.model_fields)
        cells = []
        for row in self.rows:
            spreads = row.spreads or [None] * len(row.values)
            for column, value, spread in zip(self.columns, row.values, spreads, strict=True):
                if value is None and not self.unpublished:
                    continue
                settings: dict[str, Any] = {}
                levels = (self, column, row)
                for level in levels:
                    settings |= level.model_dump(include=shared, exclude_unset=True)
                # quoted scores are not computed: differences of the other ones are irrelevant
                relevant = [level for level in levels if level.prior] or levels
                remarks = list(dict.fromkeys(level.differs for level in relevant if level.differs))
                settings["differs"] = "; ".join(remarks)
                cell = Cell(
                    row=row.label,
                    column=column.label,
                    value=value,
                    spread=spread,
                    remarks=remarks,
                    **settings,
                )
                if value is not None or not cell.of or cell.over not in ("", cell.row):
                    cells.append(cell)
        return cells


class Figure(_FrozenModel):
    """A figure of a paper, and the analysis that reproduces it.

    An efficiency figure has lines, each of a student or a probe, and fractions of the training
    labels. A figure of learning curves has lines, each of a network or student.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    where: str
    kind: Literal[
        "dendrogram", "projection", "correlation", "efficiency", "curve", "combinations", ""
    ] = ""
    task: str = ""
    embedding: str = ""
    preset: str = ""  # name of the embedding's preset
    options: dict[str, str | int | float] = {}  # of the analysis
    lines: list[Column] = []
    shares: list[float] = []  # fractions of the training labels
    pending: str = ""
    differs: str = ""

    @model_validator(mode="after")
    def _check_figure(self) -> Self:
        is_curve = self.kind in ("curve", "combinations")
        has_content = (self.lines and (is_curve or len(self.shares) > 1)) or self.embedding
        if not self.pending and not (self.kind and self.task and has_content):
            raise ValueError(f"{self.name}: needs kind, task and embedding, or pending")
        if not self.pending and (is_curve or self.kind == "efficiency") != bool(self.lines):
            raise ValueError(f"{self.name}: an efficiency figure has lines and shares")
        for line in self.lines:
            complete = line.model_copy(update={"task": self.task, "metric": "the task's"})
            if complete.missing_fields() or line.of or line.count or (is_curve and not line.trains):
                raise ValueError(
                    f"{self.name}, {line.label!r}: must be a score of a probe or student"
                )
        return self

    @property
    def networks(self) -> list[str]:
        """Selectors of the extractors that are needed."""
        embeddings = [self.embedding] if self.embedding else []
        return embeddings + [text for line in self.lines for text in line.networks]
