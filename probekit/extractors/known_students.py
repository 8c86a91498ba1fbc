"""The students that have names: Harmonic CNN, the network of lee2019, a small one of ours."""

from collections.abc import Callable
from fractions import Fraction

from torch import Tensor, nn

from probekit.errors import ProbekitError
from probekit.extractors.grid import Grid
from probekit.extractors.networks import cf, harmonic_cnn, short_chunk
from probekit.extractors.student import PooledLinear, Student


class HarmonicStudent(Student):
    """Harmonic CNN (Won et al., 2020): the student of hung2022; one embedding a crop."""

    network: harmonic_cnn.Network
    shortest = 73472
    last = "dense2."

    def __init__(self, classes: int) -> None:
        super().__init__("harmonic-cnn", {}, classes, 256, harmonic_cnn.Network(classes))

    def frontend(self, waves: Tensor) -> Tensor:
        """Return harmonic spectra in decibels, shape (clips, 6, 128, spectra)."""
        spectra: Tensor = self.network.hstft(waves)
        return spectra

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, 1, 256)."""
        return self.network.encode_spectra(features)[:, None]

    def own(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding.amax(1))

    def decoder(self, features: int) -> "HarmonicDecoder":
        """Return two linear layers; the first reads the largest of each number over time."""
        return HarmonicDecoder(features, self.classes)

    def drop(self) -> None:
        """Take out both dense layers."""
        for name in ("dense1", "bn", "dropout", "dense2"):
            setattr(self.network, name, nn.Identity())

    def own_output(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
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
    shortest = cf.SHORTEST
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

    def own(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding.mean(1))

    def decoder(self, features: int) -> PooledLinear:
        """Return a linear layer that reads the mean over time."""
        return PooledLinear(features, self.classes)

    def drop(self) -> None:
        """Take out the linear layer."""
        self.network.dense = nn.Identity()  # type: ignore[assignment]

    def own_output(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
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

    def frames(self, samples: int) -> tuple[Grid, int]:
        """Return one frame every 1/4 s; see :meth:`Student.frames`."""
        self.check(samples)
        hop = short_chunk.FRAME_SECONDS
        window = Fraction(short_chunk.WINDOW, short_chunk.RATE)
        return Grid(hop, hop / 2, window), samples // short_chunk.FRAME

    def frontend(self, waves: Tensor) -> Tensor:
        """Return mel spectra in decibels, shape (clips, 1, 64, spectra)."""
        spectra: Tensor = self.network.mel(waves)
        return spectra

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, time, 8 · width)."""
        return self.network.encode_spectra(features)

    def own(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes)."""
        return self.network.decode(embedding)

    def decoder(self, features: int) -> short_chunk.Decoder:
        """Return the mean and maximum over time and two linear layers."""
        return short_chunk.Decoder(features, self.dim, self.classes)

    def drop(self) -> None:
        """Take out both linear layers."""
        self.network.decoder = nn.Identity()  # type: ignore[assignment]

    def own_output(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the second linear layer and what it reads."""
        return self.network.decoder.hidden, self.network.decoder.dense2
