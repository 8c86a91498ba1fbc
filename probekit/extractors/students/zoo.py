"""Built-in students, and building a student by its text.

A student can also be a class of the user, ``module:Class``: a torch module built as
``Class(classes=…, …)`` with ``rate`` (Hz), ``crop`` (s), ``encode(waves)`` and
``decode(embedding)``.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from probekit.audio.timegrid import FrameGrid
from probekit.errors import ProbekitError
from probekit.extractors.networks import (
    artist_net,
    cf,
    harmonic_cnn,
    resnet50v2,
    short_chunk,
)
from probekit.extractors.students import torch_module
from probekit.extractors.students.base import PooledLinear, Student, set_band_statistics
from probekit.extractors.students.event_networks import TALNetStudent, WEANetStudent
from probekit.utils.suggest import unknown_name_error


class HarmonicStudent(Student):
    """Harmonic CNN (Won et al., 2020), the student of hung2022; one embedding a crop."""

    network: harmonic_cnn.Network
    min_samples = 73472
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
        """Return two linear layers on the maximum over time."""
        return HarmonicDecoder(features, self.classes)

    def remove_classifier(self) -> None:
        """Remove both dense layers."""
        for name in ("dense1", "bn", "dropout", "dense2"):
            setattr(self.network, name, nn.Identity())

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the second dense layer and the function of its input."""
        return lambda embedding: self.network.hidden(embedding.amax(1)), self.network.dense2


class HarmonicDecoder(nn.Module):
    """The decoder of Harmonic CNN for embeddings of another length."""

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


class _DenseStudent(Student):
    """A network with one embedding a segment, and one linear layer ``dense`` on their mean."""

    network: cf.Network | artist_net.Network
    classifier_prefix = "dense."

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, 1, dim)."""
        return self.network.encode_spectra(features)[:, None]

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding.mean(1))

    def decoder(self, features: int) -> PooledLinear:
        """Return a linear layer on the mean over time."""
        return PooledLinear(features, self.classes)

    def remove_classifier(self) -> None:
        """Remove the linear layer."""
        self.network.dense = nn.Identity()  # type: ignore[assignment]


class CFStudent(_DenseStudent):
    """The network of lee2019's poster; one embedding of length ``width`` a crop."""

    network: cf.Network
    crop = Fraction(30)
    min_samples = cf.MIN_SAMPLES

    def __init__(self, classes: int, width: int = 128) -> None:
        if width < cf.REDUCTION or width % cf.REDUCTION:
            raise ProbekitError(f"student cf-net: width must be a multiple of 8, got {width}")
        super().__init__("cf-net", {"width": width}, classes, width, cf.Network(width, classes))

    def frontend(self, waves: Tensor) -> Tensor:
        """Return mel spectra in decibels, shape (clips, 1, 96, spectra)."""
        spectra: Tensor = self.network.mel(waves)
        return spectra

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the linear layer and the function of its input."""
        return lambda embedding: embedding.mean(1), self.network.dense


class ArtistNet(_DenseStudent):
    """The network of kim2018; one embedding of ``branches · width`` a segment of 1 s.

    With several branches, one for each target, the first is that of the task's labels.
    """

    network: artist_net.Network
    rate = artist_net.SAMPLE_RATE
    crop = Fraction(artist_net.FRAMES * artist_net.HOP_LENGTH, artist_net.SAMPLE_RATE)
    min_samples = artist_net.MIN_FRAMES * artist_net.HOP_LENGTH

    def __init__(self, classes: int, width: int = artist_net.WIDTH, branches: int = 1) -> None:
        for name, value, least in (("width", width, 16), ("branches", branches, 1)):
            if value < least:
                raise ProbekitError(f"network artist-net: {name} must be >= {least}, got {value}")
        params = {"width": width, **({"branches": branches} if branches > 1 else {})}
        network = artist_net.Network(classes, width, branches)
        super().__init__("artist-net", params, classes, branches * width, network)

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return one frame for segments of which each overlaps half of the one before it."""
        self.check_length(samples)
        length = Fraction(samples, self.rate)
        spectra = samples // artist_net.HOP_LENGTH
        hop = Fraction(spectra // 2 * artist_net.HOP_LENGTH, self.rate)
        return FrameGrid(hop, length / 2, length), 1

    def fit_frontend(self, waves: Iterable[Tensor]) -> None:
        """Set mean and standard deviation of each mel band to those of crops."""
        set_band_statistics(map(self.network.mel, waves), self.network.mean, self.network.scale)

    def frontend(self, waves: Tensor) -> Tensor:
        """Return standardized mel spectra, shape (clips, 1, spectra, 128)."""
        return self.network.spectra(waves)

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the linear layer and the function of its input."""
        return lambda embedding: embedding.mean(1)[:, : self.network.width], self.network.dense

    def encode_branch(self, waves: Tensor, branch: int) -> Tensor:
        """Embed crops with one branch, shape (clips, 1, width)."""
        with torch.autocast(waves.device.type, enabled=False):
            spectra = self.frontend(waves)
        return self.network.encode_branch(spectra, branch)[:, None]

    def branch_decoder(self, outputs: int) -> nn.Module:
        """Return dropout and a linear layer on the embedding of a branch."""
        linear = PooledLinear(self.network.width, outputs)
        nn.init.xavier_uniform_(linear.dense.weight)
        nn.init.zeros_(linear.dense.bias)
        return nn.Sequential(nn.Dropout(0.5), linear)

    def branch_parameters(self, branch: int) -> list[nn.Parameter]:
        """Return the parameters of the first convolution and of one branch."""
        modules = [self.network.shared, self.network.branches[branch]]
        modules += [] if branch else [self.network.dense]
        return [parameter for module in modules for parameter in module.parameters()]


class ShortChunk(Student):
    """The small CNN of :mod:`probekit.extractors.networks.short_chunk`; four frames a second."""

    network: short_chunk.Network
    min_samples = short_chunk.FRAME
    classifier_prefix = "decoder.dense2."

    def __init__(self, classes: int, width: int = 16) -> None:
        if width < 1:
            raise ProbekitError(f"student short-chunk: width must be >= 1, got {width}")
        network = short_chunk.Network(width, classes)
        super().__init__("short-chunk", {"width": width}, classes, network.dim, network)
        self.layer_dims = tuple(width * 2**k for k in range(short_chunk.BLOCKS - 1))

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

    def embed_layers(self, features: Tensor) -> list[Tensor]:
        """Return the outputs of the four blocks."""
        return self.network.encode_layers(features)

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding)

    def decoder(self, features: int) -> short_chunk.Decoder:
        """Return the mean and maximum over time and two linear layers."""
        return short_chunk.Decoder(features, self.dim, self.classes)

    def remove_classifier(self) -> None:
        """Remove both linear layers."""
        self.network.decoder = nn.Identity()  # type: ignore[assignment]

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the second linear layer and the function of its input."""
        return self.network.decoder.hidden, self.network.decoder.dense2


class ResNetStudent(Student):
    """ResNet50V2 of Keras on mel images (lee2021); one embedding of 32 times the width a crop."""

    network: resnet50v2.Network
    rate = resnet50v2.SAMPLE_RATE
    min_samples = 1024
    classifier_prefix = "head."

    def __init__(self, classes: int, width: int = 64) -> None:
        if width < 1:
            raise ProbekitError(f"network resnet50v2: width must be >= 1, got {width}")
        network = resnet50v2.Network(classes, width)
        super().__init__("resnet50v2", {"width": width}, classes, network.dim, network)

    def frontend(self, waves: Tensor) -> Tensor:
        """Return mel images, shape (clips, 1, 128, spectra)."""
        image: Tensor = self.network.mel(waves)
        return image

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, 1, 32 · width)."""
        return self.network.encode_spectra(features)[:, None]

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        logits: Tensor = self.network.head(embedding.mean(1))
        return logits

    def decoder(self, features: int) -> PooledLinear:
        """Return a linear layer on the mean over time."""
        return PooledLinear(features, self.classes)

    def remove_classifier(self) -> None:
        """Remove the head."""
        self.network.head = nn.Identity()

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the head's last layer and the function of its input."""
        head = self.network.head
        assert isinstance(head, resnet50v2.Head)
        return lambda embedding: head.hidden(embedding.mean(1)), head.dense2


_STUDENTS: dict[str, Callable[..., Student]] = {
    "artist-net": ArtistNet,
    "harmonic-cnn": HarmonicStudent,
    "cf-net": CFStudent,
    "resnet50v2": ResNetStudent,
    "short-chunk": ShortChunk,
    "talnet": TALNetStudent,
    "weanet": WEANetStudent,
}
_PARAMS: dict[str, tuple[str, ...]] = {
    "artist-net": ("width", "branches"),
    "harmonic-cnn": (),
    "cf-net": ("width",),
    "resnet50v2": ("width",),
    "short-chunk": ("width",),
    "talnet": ("width", "pooling"),
    "weanet": ("width", "pooling"),
}
_TEXT_PARAMS = ("pooling",)
NAMES = tuple(sorted(_STUDENTS))


def build_student(text: str, classes: int, **params: Any) -> Student:
    """Build a student with new weights, drawn by torch's generator.

    Parameters
    ----------
    text : str
        ``harmonic-cnn``, ``cf-net``, ``short-chunk``, ``resnet50v2``, ``talnet`` or ``weanet``, or
        ``module:Class``; with parameters ``cf-net:width=32`` or ``module:Class:depth=3``.
    classes : int >= 1
        Number of outputs.
    **params
        Further parameters, with precedence over those in the text.

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
        raise ProbekitError(f"student {text}: classes must be >= 1, got {classes}")
    name, _, rest = text.partition(":")
    if name not in _STUDENTS and rest and "=" not in rest.partition(":")[0]:
        attribute, _, rest = rest.partition(":")
        return torch_module.build_torch_student(
            f"{name}:{attribute}", classes, {**_parse_params(text, rest), **params}
        )
    if name not in _STUDENTS:
        raise unknown_name_error(
            "student", name, _STUDENTS, "A torch module of your own: module:Class."
        )
    params = {**_parse_params(text, rest), **params}
    for key, value in params.items():
        if key not in _PARAMS[name]:
            raise unknown_name_error(f"parameter of student {name}", key, _PARAMS[name])
        if key in _TEXT_PARAMS:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise ProbekitError(f"student {text}: {key} must be an integer, got {value!r}")
    return _STUDENTS[name](classes, **params)


def _parse_params(text: str, rest: str) -> dict[str, Any]:
    """Parse ``key=value,key=value``; numbers, true and false are converted."""
    params: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not (key.strip() and equals and value.strip()):
            raise ProbekitError(
                f"student {text}: parameters must be NAME:key=value,key=value, got {pair!r}"
            )
        params[key.strip()] = _convert(value.strip())
    return params


def _convert(text: str) -> int | float | bool | str:
    """Return a text as a number or truth value if it is one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
