"""Schemas of cards: pydantic models of the YAML files of extractors, tasks and papers."""

from difflib import get_close_matches
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from probekit.cards.paper import Figure, Preset, Table
from probekit.utils.text import dataset_name

Kind = Literal["extractors", "tasks", "reports"]
Value = str | int | float | bool
Params = dict[str, Value]
Resampler = Literal["soxr_hq", "kaiser_best", "kaiser_best_0.4"]
RESAMPLER = "resampler"  # a parameter of this name sets the card's field of the same name
HOP = "hop"  # a parameter of windowed extractors, also without an entry in the card


def _fraction(value: Any) -> Fraction:
    """Parse ``24/25`` or ``0.96`` as an exact fraction."""
    try:
        return Fraction(str(value))
    except ZeroDivisionError as error:
        raise ValueError("divides by zero") from error


Seconds = Annotated[Fraction, BeforeValidator(_fraction)]


class _FrozenModel(BaseModel):
    """Base of all models: immutable, without unknown fields."""

    # a command that reads one kind of cards need not wait for the others' validators
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True
    )


class Card(_FrozenModel):
    """Fields of all cards."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    notes: list[str] = []
    not_established: list[str] = []  # what its source leaves open
    licence: str = ""
    source: str = ""  # where its facts are from
    bibtex: str = ""


class Stream(_FrozenModel):
    """A named output of an extractor; the time grid of ``frames`` is in seconds."""

    dim: int = Field(ge=1)
    kind: Literal["frames", "clip"]
    hop: Seconds | None = None
    first_center: Seconds | None = None
    window: Seconds | None = None
    description: str = ""
    # depth of a layer's output among the network's layers; the input of the first block is 0
    layer: int | None = Field(default=None, ge=0)
    # datasets on which its authors compared layers or poolings before they released this one
    compared_on: list[str] = []

    @model_validator(mode="after")
    def _check_grid(self) -> "Stream":
        grid = (self.hop, self.first_center, self.window)
        if self.kind == "frames" and None in grid:
            raise ValueError("a stream of frames needs hop, first_center and window")
        if any(length is not None and length <= 0 for length in (self.hop, self.window)):
            raise ValueError("hop and window must be > 0 s")
        return self

    @model_serializer(mode="wrap")
    def _serialize(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the layer of streams that are none: stored cards keep their bytes."""
        fields: dict[str, Any] = serialize(self)
        if fields.get("layer") is None:
            fields.pop("layer", None)
        return fields


class Parameter(_FrozenModel):
    """A parameter that users set by ``-e name:parameter=value``."""

    default: Value
    choices: list[Value] | None = None
    description: str = ""


class WeightsFile(_FrozenModel):
    """Source and hash of one file of weights."""

    file: str = ""
    url: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    git_blob: str | None = None
    md5: str | None = None
    size: int | None = None
    streams: list[str] | None = None
    when: Params = {}
    random: bool = True
    missing: str = ""


class ExtractorCard(Card):
    """Facts about an extractor."""

    version: int = Field(ge=1)
    module: str
    sample_rate: int = Field(gt=0)
    resampler: Resampler = "soxr_hq"
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
    # sources that it was trained on, by "parameter=value" where they depend on it; empty: none;
    # null: not established. Not among the facts that are stored with embeddings
    trained_on: list[str] | dict[str, list[str]] | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _check_default_stream(self) -> "ExtractorCard":
        if self.default_stream not in self.streams:
            raise ValueError(
                f"default_stream must be one of the streams, got {self.default_stream!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_resampler(self) -> "ExtractorCard":
        parameter = self.parameters.get(RESAMPLER)
        if parameter is None:
            return self
        if parameter.default != self.resampler:
            raise ValueError(
                f"parameters: the default of resampler must be the card's resampler, "
                f"{self.resampler!r}, got {parameter.default!r}"
            )
        known = get_args(Resampler)
        for value in parameter.choices or [""]:
            if value not in known:
                raise ValueError(
                    f"parameters: choices of resampler must be among {', '.join(known)}, "
                    f"got {value!r}"
                )
        return self

    @property
    def window_hop(self) -> Fraction | None:
        """Hop in seconds that the parameter ``hop`` replaces; None if there is none.

        Windowed extractors have it, unless the card has a parameter of this name itself, or a
        window makes several frames.
        """
        hops = {stream.hop for stream in self.streams.values()}
        if self.long_audio != "windowed" or HOP in self.parameters or len(hops) != 1:
            return None
        return hops.pop()

    def with_parameters(self, params: Params) -> "ExtractorCard":
        """Return the card with the resampler and hop that the parameters choose, if they do."""
        changes: dict[str, Any] = {}
        if params.get(RESAMPLER, self.resampler) != self.resampler:
            changes[RESAMPLER] = params[RESAMPLER]
        if HOP in params and self.window_hop is not None:
            samples = round(float(params[HOP]) * self.sample_rate)
            hop = {HOP: Fraction(samples, self.sample_rate)}
            changes["streams"] = {
                name: stream.model_copy(update=hop) for name, stream in self.streams.items()
            }
        return self.model_copy(update=changes) if changes else self


class Published(_FrozenModel):
    """A published score and where it is printed."""

    method: str
    score: float
    metric: str = ""
    where: str
    differs: str = ""


class Protocol(_FrozenModel):
    """How a task is split, and how hyper-parameters of the probe are selected."""

    kind: Literal["split", "made-split", "folds", "made-folds"]
    folds: int | None = Field(default=None, ge=2)  # number of made folds
    test_share: float | None = Field(default=None, gt=0, lt=1)  # of a made split
    seed: int = 0  # of made folds or a made split
    skip_draws: int = Field(default=0, ge=0)  # of 32 bits, before a split is drawn
    grouped: bool = False  # made folds, or a made split, do not divide groups
    refit: bool = True  # on training and validation clips, with the settings that were selected
    inner_folds: int = Field(default=5, ge=2)  # that select settings where there is no validation
    description: str = ""  # shown with results

    @model_validator(mode="after")
    def _check_protocol(self) -> "Protocol":
        if self.kind == "made-folds" and self.folds is None:
            raise ValueError("made-folds needs folds, their number")
        if self.kind == "made-split" and self.test_share is None:
            raise ValueError("made-split needs test_share, the proportion of test clips")
        if self.skip_draws and self.kind != "made-split":
            raise ValueError("skip_draws is for made-split")
        return self

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not set: runs from before there were draws to skip keep their names."""
        facts: dict[str, Any] = handler(self)
        return {k: v for k, v in facts.items() if k != "skip_draws" or v}


def _check_dataset_name(name: str) -> str:
    if name != dataset_name(name):
        raise ValueError(f"must be a name that a folder can have, such as {dataset_name(name)!r}")
    return name


DatasetName = Annotated[str, AfterValidator(_check_dataset_name)]


class TaskCard(Card):
    """Facts about a task: dataset, labels, protocol, metric, published scores."""

    name: DatasetName
    dataset: DatasetName  # tasks on the same recordings have the same, and share embeddings
    module: str  # what reads the dataset: table, file_names, metadata_tables, or code (FILE.py …)
    options: dict[str, Any] = {}  # of the module
    # one label a clip, any number of labels, or numbers
    target: Literal["single", "multi", "regression"] = "single"
    # collections that its recordings come from, the nearest first; null: not established
    sources: list[str] | None = None
    labels: list[str] | None = None  # in this order; another is an error
    group: str | None = None  # what a group is: artist, speaker, day …
    # clips of one recording, or of one group, are scored as one: the mean of their probabilities
    aggregate: Literal["recording", "group"] | None = None
    protocol: Protocol
    metric: str
    also: list[str] = []  # further metrics to report
    counts: dict[str, int] = {}  # of all clips, and of each split or fold by name
    size: str = ""  # of the dataset, in words
    download: str = ""  # where to get it; shown where it is missing
    layout: str = ""  # of its folder; shown where that is another
    stand_in: str | None = None  # a note that all data of this task are synthetic
    known_bad: dict[str, str] = {}  # faulty clips, with the reason
    published: list[Published] = []  # scores, drawn as diamonds on the page

    @model_validator(mode="after")
    def _check_counts(self) -> "TaskCard":
        if "split" in self.protocol.kind:
            known = ["clips", "train", "valid", "test"]
        elif self.protocol.kind == "made-folds":
            known = ["clips", *(str(k + 1) for k in range(self.protocol.folds or 0))]
        else:  # official folds may be called anything, but hardly this
            typos = [key for key in self.counts if get_close_matches(key, ["clips"], cutoff=0.8)]
            known = ["clips", *sorted(set(self.counts) - set(typos))]
        unknown = sorted(set(self.counts) - set(known))
        if unknown:
            raise ValueError(f"counts: must be one of {', '.join(known)}, got {unknown[0]!r}")
        return self


class PaperCard(Card):
    """Facts about a paper: its presets, tables and figures."""

    presets: dict[str, Preset] = {}
    tables: list[Table] = []
    figures: list[Figure] = []

    @model_validator(mode="after")
    def _check_names(self) -> "PaperCard":
        names = [*(t.name for t in self.tables), *(f.name for f in self.figures)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"several tables or figures have the name {repeated[0]!r}")
        return self
