"""What papers did and printed: recipes for embeddings, tables of scores, figures.

These are parts of a paper's card (:class:`probekit.cards.PaperCard`). A table is written as it is
printed, rows of values under columns. What its cells have in common (task, embedding, probe …) is
said once: for the table, a column or a row, of which the last one that says it counts.

A cell is one of four kinds: the score of a probe; that of a student, which is trained on the task;
a number of parameters (``count``); the mean difference of two rows over some columns (``of``,
``over``).
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    """What all parts share: no unknown field, and no change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Preset(_Part):
    """What a paper does to one extractor's embeddings, and with which probe."""

    probe: str = "linear"
    steps: list[str] = ["standardize"]
    stream: str = ""
    pool: list[str] = ["mean"]
    description: str = ""


class Setting(_Part):
    """What makes a score, as far as a table, a column or a row says it."""

    task: str = ""
    embedding: str = ""  # as after -e; with a student: its teachers
    preset: str = ""
    probe: str = "linear"
    student: str = ""  # as after --student; what follows is of students only
    method: str = "none"
    alpha: float | None = Field(default=None, gt=0)
    init: str = ""  # the extractor whose weights come first
    recipe: str = "default"
    alignment: Literal["time", "paper"] = "time"
    count: Literal["", "training", "inference"] = ""  # parameters of a method; needs no data
    of: list[str] = []  # columns, over which the mean is taken of this row less the row ``over``
    over: str = ""
    metric: str = ""
    fraction: float = Field(default=1.0, gt=0, le=1)  # share of the training labels
    frames: bool = False  # whether the frames are needed, too
    prior: bool = False  # the paper quotes the score from other work; nothing here computes it
    pending: str = ""  # why nothing here can compute it
    differs: str = ""  # what is known to differ between the paper's run and the one here

    @property
    def computed(self) -> bool:
        """Whether the score is one that can be computed here."""
        return not (self.prior or self.pending)

    @property
    def networks(self) -> list[str]:
        """Extractors that are needed, as after ``-e``."""
        return [text for text in (self.embedding, self.init) if text]

    def missing_fields(self) -> list[str]:
        """Return the names of what is not said, but needed to compute it."""
        if not self.computed or self.of:
            return []
        needed = ["task", "metric", "embedding"]
        if self.count:
            needed = ["student", "metric"]
        elif self.student:
            needed = ["task", "metric"]
        return [name for name in needed if not getattr(self, name)]


class Column(Setting):
    """A column of a paper's table."""

    label: str


class Row(Setting):
    """A row of a paper's table: a value for each column, null where the paper has none."""

    label: str
    # in the units of the metric; shares are from 0 to 1
    values: list[float | None]
    spreads: list[float | None] = []  # what the paper prints after ±, where it does


class Cell(Setting):
    """A published score and all that is said about it."""

    row: str
    column: str
    value: float | None  # None: the paper has no number, but ours is computed
    spread: float | None = None
    remarks: list[str] = []  # the parts of differs


class Table(Setting):
    """A table of a paper."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    where: str
    notes: list[str] = []
    unpublished: bool = False  # whether scores without a published number are computed, too
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
                raise ValueError(f"{self.name}, row {row.label!r}: not as many spreads as values")
        cells = self.cells()
        if not cells:
            raise ValueError(f"{self.name}: has no values")
        labels = {row.label for row in self.rows}, {column.label for column in self.columns}
        for cell in cells:
            lacking = cell.missing_fields()
            if lacking:
                what = " and no ".join(lacking)
                raise ValueError(f"{self.name}, {cell.row!r}, {cell.column!r}: says no {what}")
            for name, known in ((cell.over, labels[0]), *((one, labels[1]) for one in cell.of)):
                if cell.of and name not in known:
                    raise ValueError(f"{self.name}, {cell.row!r}: {name!r} is no row or column")
        return self

    def cells(self) -> list[Cell]:
        """Return the published scores, row by row.

        Returns
        -------
        list of Cell
            Places where the paper has no score are left out, but in tables that say
            ``unpublished``; there a row is not compared with itself.
        """
        own = set(Setting.model_fields)
        found = []
        for row in self.rows:
            spreads = row.spreads or [None] * len(row.values)
            for column, value, spread in zip(self.columns, row.values, spreads, strict=True):
                if value is None and not self.unpublished:
                    continue
                said: dict[str, Any] = {}
                parts = (self, column, row)
                for part in parts:
                    said |= part.model_dump(include=own, exclude_unset=True)
                # of quoted scores nothing is computed: what differs for the others is no matter
                own_parts = [p for p in parts if p.prior] or parts
                remarks = list(dict.fromkeys(p.differs for p in own_parts if p.differs))
                said["differs"] = "; ".join(remarks)
                cell = Cell(
                    row=row.label,
                    column=column.label,
                    value=value,
                    spread=spread,
                    remarks=remarks,
                    **said,
                )
                if value is not None or not cell.of or cell.over not in ("", cell.row):
                    found.append(cell)
        return found


class Figure(_Part):
    """A figure of a paper, and which analysis makes the like of it.

    An efficiency figure has lines, each of a student or a probe, and shares of the training labels.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    where: str
    kind: Literal["dendrogram", "projection", "correlation", "efficiency", ""] = ""
    task: str = ""
    embedding: str = ""
    preset: str = ""  # a paper's recipe for the embedding and the steps before the probe
    options: dict[str, str | int | float] = {}  # of the analysis
    lines: list[Column] = []
    shares: list[float] = []  # of the training labels
    pending: str = ""
    differs: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        shown = (len(self.lines) and len(self.shares) > 1) or self.embedding
        if not self.pending and not (self.kind and self.task and shown):
            raise ValueError(f"{self.name}: needs kind, task and embedding, or pending")
        if not self.pending and (self.kind == "efficiency") != bool(self.lines):
            raise ValueError(f"{self.name}: an efficiency figure has lines and shares")
        for line in self.lines:
            whole = line.model_copy(update={"task": self.task, "metric": "the task's"})
            if whole.missing_fields() or line.of or line.count:
                raise ValueError(f"{self.name}, {line.label!r}: not a score of a probe or student")
        return self

    @property
    def networks(self) -> list[str]:
        """Extractors that are needed, as after ``-e``."""
        own = [self.embedding] if self.embedding else []
        return own + [text for line in self.lines for text in line.networks]
