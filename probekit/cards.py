"""Cards: YAML files of facts about extractors, tasks and papers, checked when they are read.

A card is found by its name in, first to last: the folders named by ``PROBEKIT_CARDS`` (or
``--cards``), the folders that installed packages announce through the entry points
``probekit.extractors`` and ``probekit.tasks``, and the cards that come with probekit.
"""

import os
import warnings
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from probekit.errors import CardError
from probekit.papers import Figure, Preset, Table
from probekit.registry import unknown

Kind = Literal["extractors", "tasks", "reports"]
Value = str | int | float | bool
Params = dict[str, Value]


def _fraction(value: Any) -> Fraction:
    """Read ``24/25`` or ``0.96`` as an exact fraction."""
    try:
        return Fraction(str(value))
    except ZeroDivisionError as error:
        raise ValueError("divides by zero") from error


Seconds = Annotated[Fraction, BeforeValidator(_fraction)]


class Card(BaseModel):
    """What all cards share."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    notes: list[str] = []
    not_established: list[str] = []
    licence: str = ""
    source: str = ""
    bibtex: str = ""


class Stream(BaseModel):
    """One named output of an extractor; ``frames`` have a place in time, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    dim: int = Field(ge=1)
    kind: Literal["frames", "clip"]
    hop: Seconds | None = None
    first_center: Seconds | None = None
    window: Seconds | None = None
    description: str = ""

    @model_validator(mode="after")
    def _grid(self) -> "Stream":
        grid = (self.hop, self.first_center, self.window)
        if self.kind == "frames" and None in grid:
            raise ValueError("a stream of frames needs hop, first_center and window")
        if any(length is not None and length <= 0 for length in (self.hop, self.window)):
            raise ValueError("hop and window must be longer than 0 s")
        return self


class Parameter(BaseModel):
    """A parameter that a user may set: ``-e name:parameter=value``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Value
    choices: list[Value] | None = None
    description: str = ""


class WeightsFile(BaseModel):
    """Where one file of weights is published, and how it is recognised."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = ""
    url: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    git_blob: str | None = None
    size: int | None = None
    streams: list[str] | None = None
    when: Params = {}
    random: bool = True
    missing: str = ""


class ExtractorCard(Card):
    """The facts of one extractor."""

    version: int = Field(ge=1)
    module: str
    sample_rate: int = Field(gt=0)
    resampler: Literal["soxr_hq", "kaiser_best", "kaiser_best_0.4"] = "soxr_hq"
    downmix: str = "mean"
    padding: str = ""
    long_audio: Literal["windowed", "exact", "cropped"]
    max_seconds: float | None = None
    default_stream: str
    streams: dict[str, Stream]
    parameters: dict[str, Parameter] = {}
    weights: dict[str, WeightsFile] = {}
    parameter_count: int | None = None
    gflop_per_second: float | None = None
    classes_file: str | None = None
    caveat: str = ""  # shown beside every score from this extractor

    @model_validator(mode="after")
    def _default(self) -> "ExtractorCard":
        if self.default_stream not in self.streams:
            raise ValueError(f"default_stream {self.default_stream!r} is not among the streams")
        return self


class Published(BaseModel):
    """A score that somebody published, with its place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    score: float
    metric: str = ""
    where: str
    differs: str = ""


class Protocol(BaseModel):
    """How a task is split, and how the probe's hyper-parameters are chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["split", "made-split", "folds", "made-folds"]
    folds: int | None = Field(default=None, ge=2)
    test_share: float | None = Field(default=None, gt=0, lt=1)
    seed: int = 0
    grouped: bool = False
    refit: bool = True
    inner_folds: int = Field(default=5, ge=2)
    description: str = ""

    @model_validator(mode="after")
    def _made(self) -> "Protocol":
        if self.kind == "made-folds" and self.folds is None:
            raise ValueError("made-folds needs folds: how many to make")
        if self.kind == "made-split" and self.test_share is None:
            raise ValueError("made-split needs test_share: which share of the clips is test")
        return self


class TaskCard(Card):
    """The facts of one task: dataset, labels, protocol, metric, published scores."""

    dataset: str
    module: str
    options: dict[str, Any] = {}
    target: Literal["single", "multi", "regression"] = "single"
    labels: list[str] | None = None
    group: str | None = None
    protocol: Protocol
    metric: str
    also: list[str] = []  # further metrics, reported beside the main one
    counts: dict[str, int] = {}  # clips in all, and of each split or fold by its name
    size: str = ""
    download: str = ""
    layout: str = ""
    stand_in: str | None = None
    known_bad: dict[str, str] = {}
    published: list[Published] = []

    @model_validator(mode="after")
    def _counted(self) -> "TaskCard":
        if "split" in self.protocol.kind:
            known = ["clips", "train", "valid", "test"]
        elif self.protocol.kind == "made-folds":
            known = ["clips", *(str(k + 1) for k in range(self.protocol.folds or 0))]
        else:  # official folds may be called anything, but hardly this
            meant = [key for key in self.counts if get_close_matches(key, ["clips"], cutoff=0.8)]
            known = ["clips", *sorted(set(self.counts) - set(meant))]
        wrong = sorted(set(self.counts) - set(known))
        if wrong:
            raise ValueError(f"counts: {wrong[0]!r} is not one of: {', '.join(known)}")
        return self


class PaperCard(Card):
    """The facts of one paper: how it probes, and what its tables and figures consist of."""

    presets: dict[str, Preset] = {}
    tables: list[Table] = []
    figures: list[Figure] = []

    @model_validator(mode="after")
    def _named(self) -> "PaperCard":
        names = [*(t.name for t in self.tables), *(f.name for f in self.figures)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several tables or figures are called {twice[0]!r}")
        return self


C = TypeVar("C", bound=Card)
_SCHEMAS: dict[str, type[Card]] = {
    "extractors": ExtractorCard,
    "tasks": TaskCard,
    "reports": PaperCard,
}


def _shipped(kind: Kind) -> Path:
    """Return the folder of the cards that come with probekit: the wheel's, or the checkout's."""
    package = Path(str(resources.files("probekit")))
    inside = package / "_cards" / kind
    return inside if inside.is_dir() else package.parent / kind


def folders(kind: Kind) -> list[Path]:
    """Return the folders in which cards of a kind are looked for, the first found wins.

    Parameters
    ----------
    kind : {"extractors", "tasks", "reports"}
        What the cards describe.

    Returns
    -------
    list of pathlib.Path
        Existing folders.

    Raises
    ------
    CardError
        If ``PROBEKIT_CARDS`` names a folder that does not exist.
    """
    found: list[Path] = []
    for root in filter(None, os.environ.get("PROBEKIT_CARDS", "").split(os.pathsep)):
        if not Path(root).is_dir():
            raise CardError(f"PROBEKIT_CARDS names {root}: no such folder")
        found += [Path(root) / kind, Path(root)]
    for entry in metadata.entry_points(group=f"probekit.{kind}"):
        found.append(Path(str(entry.load())))
    return [p for p in [*found, _shipped(kind)] if p.is_dir()]


def names(kind: Kind) -> dict[str, Path]:
    """Return the names of all cards of a kind, with their files.

    Parameters
    ----------
    kind : {"extractors", "tasks", "reports"}
        What the cards describe.

    Returns
    -------
    dict of str to pathlib.Path
        Sorted by name.
    """
    found: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def read(path: Path, schema: type[C]) -> C:
    """Read one card and check it.

    Parameters
    ----------
    path : pathlib.Path
        A YAML file; read with ``yaml.safe_load``.
    schema : type
        The card's model.

    Returns
    -------
    Card
        The checked card.

    Raises
    ------
    CardError
        If the file is not YAML, or a field is missing, unknown or of the wrong kind; names the
        file and every such field.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not a YAML file: {error}") from error
    except OSError as error:
        raise CardError(f"{path}: cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise CardError(f"{path}: a card is a mapping of fields, this is {type(content).__name__}")
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        faults = [
            f"  {'.'.join(str(p) for p in fault['loc']) or 'card'}: {_plain(fault)}"
            for fault in error.errors()
        ]
        raise CardError(f"{path}: not a valid card:\n" + "\n".join(faults)) from error


def _plain(fault: Any) -> str:
    """Say a pydantic fault in plain words."""
    if fault["type"] == "extra_forbidden":
        return "unknown field (misspelt?)"
    if fault["type"] == "missing":
        return "this field is required"
    return f"{fault['msg']} (given: {fault['input']!r})"


@lru_cache(maxsize=256)
def _load(kind: Kind, path: Path, mtime_ns: int) -> Card:
    return read(path, _SCHEMAS[kind])


def load(kind: Kind, name: str) -> Card:
    """Return the card of a name.

    Parameters
    ----------
    kind : {"extractors", "tasks", "reports"}
        What the card describes.
    name : str
        The card's name (its file name without ``.yaml``).

    Returns
    -------
    Card
        An :class:`ExtractorCard`, a :class:`TaskCard` or a :class:`PaperCard`.

    Raises
    ------
    UnknownNameError
        If no card has that name.
    CardError
        If the card is not valid, or its name is not its file's.
    """
    known = names(kind)
    if name not in known:
        raise unknown(kind.removesuffix("s"), name, known)
    card = _load(kind, known[name], known[name].stat().st_mtime_ns)
    if card.name != name:
        raise CardError(f"{known[name]}: named {card.name!r} inside; it must be its file's name")
    return card


def extractor(name: str) -> ExtractorCard:
    """Return the card of an extractor; see :func:`load`."""
    card = load("extractors", name)
    assert isinstance(card, ExtractorCard)
    return card


def task(name: str) -> TaskCard:
    """Return the card of a task; see :func:`load`."""
    card = load("tasks", name)
    assert isinstance(card, TaskCard)
    return card


def valid_tasks() -> list[TaskCard]:
    """Return the cards of all tasks; one that is not valid is left out, with a warning.

    Returns
    -------
    list of TaskCard
        By name.
    """
    found = []
    for name in names("tasks"):
        try:
            found.append(task(name))
        except CardError as error:
            warnings.warn(f"this task is left out: {error}", stacklevel=2)
    return found


def paper(name: str) -> PaperCard:
    """Return the card of a paper; see :func:`load`."""
    card = load("reports", name)
    assert isinstance(card, PaperCard)
    return card
