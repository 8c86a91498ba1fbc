"""Small networks that are trained on a task, by name.

A class of the user's, ``module:Class``, will do as well: a torch module made by
``Class(classes=…, …)`` with ``rate`` (Hz), ``crop`` (s), ``encode(waves)`` and
``decode(embedding)``.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from probekit.errors import ProbekitError
from probekit.extractors.networks import cf, harmonic_cnn, short_chunk
from probekit.extractors.students import torch_module
from probekit.extractors.students.base import PooledLinear, Student
from probekit.extractors.timegrid import FrameGrid
from probekit.utils.suggest import unknown_name_error


class HarmonicStudent(Student):
    """Harmonic CNN (Won et al., 2020): the student of hung2022; one embedding a crop."""

    network: harmonic_cnn.Network
    shortest = 73472
    classifier_prefix = "dense2."

    def __init__(self, classes: int) -> None:
        super().__init__("harmonic-cnn", {}, classes, 256, harmonic_cnn.Network(classes))

    def frontend(self, waves: Tensor) -> Tensor:
        """Return harmonic spectra in decibels, shape (clips, 6, 128, spectra)."""
        spectra: Tensor = self.network.hstft(waves)
        return spectra

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, 1, 256)."""
        return self.network.encode_spectra(features)[:, None]

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding.amax(1))

    def decoder(self, features: int) -> "HarmonicDecoder":
        """Return two linear layers; the first reads the largest of each number over time."""
        return HarmonicDecoder(features, self.classes)

    def remove_classifier(self) -> None:
        """Take out both dense layers."""
        for name in ("dense1", "bn", "dropout", "dense2"):
            setattr(self.network, name, nn.Identity())

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the second dense layer and what it reads."""
        return lambda embedding: self.network.hidden(embedding.amax(1)), self.network.dense2


class HarmonicDecoder(nn.Module):
    """The decoder of Harmonic CNN for embeddings of another length.

    Parameters
    ----------
    features : int >= 1
        Numbers a frame.
    classes : int >= 1
        Outputs.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(features, 256)
        self.bn = nn.BatchNorm1d(256)
        self.dropout = nn.Dropout(0.5)
        self.dense2 = nn.Linear(256, classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for frames, shape (clips, time, features)."""
        hidden = self.bn(self.dense1(frames.amax(1))).relu()
        logits: Tensor = self.dense2(self.dropout(hidden))
        return logits


class CFStudent(Student):
    """The network of lee2019's poster; one embedding a crop.

    Parameters
    ----------
    classes : int >= 1
        Outputs.
    width : int, a multiple of 8
        Channels of all maps, F of the poster; also the embedding's length.
    """

    network: cf.Network
    crop = Fraction(30)
    shortest = cf.MIN_SAMPLES
    last = "dense."

    def __init__(self, classes: int, width: int = 128) -> None:
        if width < cf.REDUCTION or width % cf.REDUCTION:
            raise ProbekitError(f"student cf-net: width={width}; it is a multiple of 8")
        super().__init__("cf-net", {"width": width}, classes, width, cf.Network(width, classes))

    def frontend(self, waves: Tensor) -> Tensor:
        """Return mel spectra in decibels, shape (clips, 1, 96, spectra)."""
        spectra: Tensor = self.network.mel(waves)
        return spectra

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, 1, width)."""
        return self.network.encode_spectra(features)[:, None]

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding.mean(1))

    def decoder(self, features: int) -> PooledLinear:
        """Return a linear layer that reads the mean over time."""
        return PooledLinear(features, self.classes)

    def remove_classifier(self) -> None:
        """Take out the linear layer."""
        self.network.dense = nn.Identity()  # type: ignore[assignment]

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the linear layer and what it reads."""
        return lambda embedding: embedding.mean(1), self.network.dense


class ShortChunk(Student):
    """The small CNN of :mod:`probekit.extractors.networks.short_chunk`; four frames a second.

    Parameters
    ----------
    classes : int >= 1
        Outputs.
    width : int >= 1
        Channels of the first block; the embedding is eight times as long.
    """

    network: short_chunk.Network
    shortest = short_chunk.FRAME
    last = "decoder.dense2."

    def __init__(self, classes: int, width: int = 16) -> None:
        if width < 1:
            raise ProbekitError(f"student short-chunk: width={width}; it is 1 or more")
        network = short_chunk.Network(width, classes)
        super().__init__("short-chunk", {"width": width}, classes, network.dim, network)

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return one frame every 1/4 s; see :meth:`Student.frames`."""
        self.check_length(samples)
        hop = short_chunk.FRAME_SECONDS
        window = Fraction(short_chunk.WINDOW, short_chunk.SAMPLE_RATE)
        return FrameGrid(hop, hop / 2, window), samples // short_chunk.FRAME

    def frontend(self, waves: Tensor) -> Tensor:
        """Return mel spectra in decibels, shape (clips, 1, 64, spectra)."""
        spectra: Tensor = self.network.mel(waves)
        return spectra

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, time, 8 · width)."""
        return self.network.encode_spectra(features)

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding)

    def decoder(self, features: int) -> short_chunk.Decoder:
        """Return the mean and maximum over time and two linear layers."""
        return short_chunk.Decoder(features, self.dim, self.classes)

    def remove_classifier(self) -> None:
        """Take out both linear layers."""
        self.network.decoder = nn.Identity()  # type: ignore[assignment]

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the second linear layer and what it reads."""
        return self.network.decoder.hidden, self.network.decoder.dense2


__all__ = ["NAMES", "PooledLinear", "Student", "build_student"]

_OWN: dict[str, Callable[..., Student]] = {
    "harmonic-cnn": HarmonicStudent,
    "cf-net": CFStudent,
    "short-chunk": ShortChunk,
}
_PARAMS: dict[str, tuple[str, ...]] = {
    "harmonic-cnn": (), "cf-net": ("width",), "short-chunk": ("width",),
}  # fmt: skip
NAMES = tuple(sorted(_OWN))


def build_student(text: str, classes: int, **params: Any) -> Student:
    """Build a student with fresh weights, drawn by torch's generator.

    Parameters
    ----------
    text : str
        ``harmonic-cnn``, ``cf-net`` or ``short-chunk``, or ``module:Class``, where that can be
        imported; with parameters ``cf-net:width=32`` or ``module:Class:depth=3``.
    classes : int >= 1
        Outputs.
    **params
        Further parameters; these win over those in the text.

    Returns
    -------
    Student
        In training mode, on the CPU.

    Raises
    ------
    ProbekitError
        If there is no such student, or it does not take the parameters.
    """
    if classes < 1:
        raise ProbekitError(f"student {text}: {classes} classes; it needs one or more")
    name, _, rest = text.partition(":")
    if name not in _OWN and rest and "=" not in rest.partition(":")[0]:
        made, _, rest = rest.partition(":")
        return torch_module.build_torch_student(f"{name}:{made}", classes, {**_read(text, rest), **params})
    if name not in _OWN:
        raise unknown_name_error("student", name, _OWN, "A torch module of your own: module:Class.")
    given = {**_read(text, rest), **params}
    for key, value in given.items():
        if key not in _PARAMS[name]:
            raise unknown_name_error(f"parameter of student {name}", key, _PARAMS[name])
        if not isinstance(value, int) or isinstance(value, bool):
            raise ProbekitError(f"student {text}: {key}={value!r} is not a whole number")
    return _OWN[name](classes, **given)


def _read(text: str, rest: str) -> dict[str, Any]:
    """Read ``key=value,key=value``; numbers and truth values become such."""
    found: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not (key.strip() and equals and value.strip()):
            raise ProbekitError(f"student {text}: write NAME:key=value,key=value")
        found[key.strip()] = _value(value.strip())
    return found


def _value(text: str) -> int | float | bool | str:
    """Return the number or truth value that a text is, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
