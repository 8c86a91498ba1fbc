"""What papers did and printed: recipes for embeddings, tables of scores, figures.

These are parts of a paper's card (:class:`probekit.cards.PaperCard`). A table is written as it is
printed, rows of values under columns. What its cells have in common (task, embedding, probe …) is
said once: for the table, a column or a row, of which the last one that says it counts.
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
    """What makes a score, as far as a table, a column or a row says it.

    Attributes
    ----------
    task, embedding, preset, probe : str
        As for :func:`probekit.evaluate`.
    metric : str
        Which metric of the task.
    fraction : float
        Share of the training labels.
    frames : bool
        Whether the embeddings' frames are needed.
    prior : bool
        The score is quoted by the paper from other work; nothing here computes it.
    pending : str
        Why nothing here can compute it.
    differs : str
        What is known to differ between the paper's run and the one here.
    """

    task: str = ""
    embedding: str = ""
    preset: str = ""
    probe: str = "linear"
    metric: str = ""
    fraction: float = Field(default=1.0, gt=0, le=1)
    frames: bool = False
    prior: bool = False
    pending: str = ""
    differs: str = ""

    @property
    def computed(self) -> bool:
        """Whether the score is one that can be computed here."""
        return not (self.prior or self.pending)


class Column(Setting):
    """A column of a paper's table."""

    label: str


class Row(Setting):
    """A row of a paper's table: a value for each column, null where the paper has none.

    Attributes
    ----------
    label : str
        As the paper has it.
    values : list of float or None
        In the units of the metric; shares are from 0 to 1.
    spreads : list of float or None
        What the paper prints after ±, where it does.
    """

    label: str
    values: list[float | None]
    spreads: list[float | None] = []


class Cell(Setting):
    """A published score and all that is said about it.

    Attributes
    ----------
    row, column : str
        Where it is in its table.
    value : float
        The published score.
    spread : float or None
        What the paper prints after ±.
    remarks : list of str
        The parts of ``differs``.
    """

    row: str
    column: str
    value: float
    spread: float | None = None
    remarks: list[str] = []


class Table(Setting):
    """A table of a paper."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    where: str
    notes: list[str] = []
    columns: list[Column]
    rows: list[Row]

    @model_validator(mode="after")
    def _whole(self) -> Self:
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
        for cell in cells:
            lacking = [k for k in ("task", "embedding", "metric") if not getattr(cell, k)]
            if cell.computed and lacking:
                what = " and no ".join(lacking)
                raise ValueError(f"{self.name}, {cell.row!r}, {cell.column!r}: says no {what}")
        return self

    def cells(self) -> list[Cell]:
        """Return the published scores, row by row.

        Returns
        -------
        list of Cell
            Places where the paper has no score are left out.
        """
        own = set(Setting.model_fields)
        found = []
        for row in self.rows:
            spreads = row.spreads or [None] * len(row.values)
            for column, value, spread in zip(self.columns, row.values, spreads, strict=True):
                if value is None:
                    continue
                said: dict[str, Any] = {}
                parts = (self, column, row)
                for part in parts:
                    said |= part.model_dump(include=own, exclude_unset=True)
                # of quoted scores nothing is computed: what differs for the others is no matter
                own_parts = [p for p in parts if p.prior] or parts
                remarks = list(dict.fromkeys(p.differs for p in own_parts if p.differs))
                said["differs"] = "; ".join(remarks)
                found.append(
                    Cell(
                        row=row.label,
                        column=column.label,
                        value=value,
                        spread=spread,
                        remarks=remarks,
                        **said,
                    )
                )
        return found


class Figure(_Part):
    """A figure of a paper, and which analysis makes the like of it.

    Attributes
    ----------
    name, title, where : str
        Which figure.
    kind : {"dendrogram", "projection", "correlation", ""}
        The analysis; empty where there is none.
    task, embedding : str
        As for :func:`probekit.evaluate`.
    options : dict
        Of the analysis.
    pending : str
        Why nothing here can make it.
    differs : str
        What is known to differ between the paper's figure and the one here.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    where: str
    kind: Literal["dendrogram", "projection", "correlation", ""] = ""
    task: str = ""
    embedding: str = ""
    options: dict[str, str | int | float] = {}
    pending: str = ""
    differs: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.pending and not (self.kind and self.task and self.embedding):
            raise ValueError(f"{self.name}: needs kind, task and embedding, or pending")
        return self
