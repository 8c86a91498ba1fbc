"""Cards of ONNX files: what such a file does not say of itself.

The card of ``FILE.onnx`` is ``FILE.onnx.yaml`` or ``FILE.yaml`` beside it, or a ready one by name.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from probekit import cards
from probekit.cards.loader import read_card
from probekit.cards.schema import Card, Seconds
from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

TEMPLATE = """sample_rate: 16000      # Hz
window: 0.96            # s that the network reads at once; leave out for whole clips
outputs:
  embedding: {dim: 1024}"""


def _words(value: Any) -> Any:
    """Split the names of axes, which may be written as one text."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


InputAxis = Literal["batch", "one", "samples", "frames", "bands"]
OutputAxis = Literal["batch", "one", "time", "frequency", "dim"]


class _Part(BaseModel):
    """Base of the parts of a card: immutable, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Normalize(_Part):
    """What is done to the waveform of each window, in this order."""

    remove_mean: bool = False
    peak: float | None = Field(default=None, gt=0)  # the largest magnitude afterwards
    scale: float = 1.0  # a factor, such as 32768 for a network of 16-bit numbers


class Output(_Part):
    """One output of the network, as a stream."""

    dim: int = Field(ge=1)
    output: str = ""  # its name in the file; that of the stream if empty
    axes: Annotated[tuple[OutputAxis, ...], BeforeValidator(_words)] = ("batch", "dim")
    frames: int | None = Field(default=None, ge=2)  # of a window, where there are several
    layer: int | None = Field(default=None, ge=0)
    description: str = ""
    # of whole clips only
    hop: Seconds | None = None
    first_center: Seconds | None = None
    window: Seconds | None = None


class Frontend(_Part):
    """A file before the network, which turns the whole clip into frames."""

    file: str
    input: str = ""
    axes: Annotated[tuple[InputAxis, ...], BeforeValidator(_words)] = ("batch", "samples")
    bands: int = Field(ge=1)
    hop: Seconds  # from one frame to the next
    window: Seconds  # of a frame
    scale: float = 1.0
    offset: float = 0.0  # added after the factor
    frames: int = Field(ge=1)  # that the network reads at once
    step: int = Field(ge=1)  # frames from one window to the next


class OnnxCard(Card):
    """Facts about a network in an ONNX file."""

    name: str = Field(default="network", pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str = ""
    non_commercial: bool = False
    sample_rate: int = Field(gt=0)
    window: Seconds | None = None
    hop: Seconds | None = None
    keep_tail: bool = False  # whether zeros complete the last window; else it is left out
    min_samples: int = Field(default=1, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)
    input: str = ""
    axes: Annotated[tuple[InputAxis, ...], BeforeValidator(_words)] = ("batch", "samples")
    normalize: Normalize = Normalize()
    frontend: Frontend | None = None
    outputs: dict[str, Output] = Field(min_length=1)
    default_stream: str = ""

    @model_validator(mode="after")
    def _check(self) -> "OnnxCard":
        for label, axes, needed in (
            ("axes", self.axes, "frames" if self.frontend else "samples"),
            *((f"outputs: {name}: axes", o.axes, "dim") for name, o in self.outputs.items()),
        ):
            if needed not in axes or len(set(axes) - {"one"}) < len(axes) - axes.count("one"):
                raise ValueError(f"{label} must name {needed} once, got {' '.join(axes)}")
        if self.frontend is not None and self.window is not None:
            raise ValueError("window and frontend: a front-end's windows are frames and step")
        if self.hop is not None and (self.window is None or not 0 < self.hop <= self.window):
            raise ValueError("hop must be > 0 and at most the window")
        if self.window is not None and (self.window * self.sample_rate).denominator != 1:
            raise ValueError("window must be a whole number of samples")
        for name, output in self.outputs.items():
            several = "time" in output.axes
            if self.window is not None and several != (output.frames is not None):
                raise ValueError(f"outputs: {name}: the axis time needs frames, their number")
            if several and self.window is not None and self.hop not in (None, self.window):
                raise ValueError(f"outputs: {name}: several frames a window need hop = window")
            reads_clips = self.window is None and self.frontend is None
            grid = (output.hop, output.first_center, output.window)
            if reads_clips and several and None in grid:
                raise ValueError(
                    f"outputs: {name}: of whole clips needs hop, first_center and window"
                )
            if not (reads_clips and several) and grid != (None, None, None):
                raise ValueError(f"outputs: {name}: its grid follows from the window")
        if self.default_stream and self.default_stream not in self.outputs:
            raise ValueError(f"default_stream must be an output, got {self.default_stream!r}")
        return self


def ready_cards() -> dict[str, Path]:
    """Return the cards of known networks that come with probekit, by name."""
    folders = [folder / "onnx" for folder in cards.card_folders("extractors")]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def find_card(file: Path, name: str) -> Path | None:
    """Return the card of an ONNX file: the ready one of a name, or the one beside it.

    Raises
    ------
    ProbekitError
        If there is no ready card of that name.
    """
    if name:
        known = ready_cards()
        if name not in known:
            raise unknown_name_error("card of an ONNX file", name, known)
        return known[name]
    for path in (file.with_name(f"{file.name}.yaml"), file.with_suffix(".yaml")):
        if path.is_file():
            return path
    return None


def load_card(path: Path) -> OnnxCard:
    """Read a card; errors name every field that is wrong."""
    return read_card(path, OnnxCard)


def no_card_error(file: Path, reason: str) -> ProbekitError:
    """Return the error that a file needs a card, with one to fill in."""
    ready = ", ".join(ready_cards())
    return ProbekitError(
        f"{file}: {reason}, so it needs a card. Write {file.name}.yaml beside it, for example\n"
        + "\n".join(f"  {line}" for line in TEMPLATE.splitlines())
        + f"\nor name a ready one: onnx:{file},card=NAME, of {ready}"
    )
