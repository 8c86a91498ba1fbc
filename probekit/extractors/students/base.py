"""Base class of students: an encoder from sound to an embedding, and a decoder."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from probekit.audio.timegrid import FrameGrid
from probekit.errors import ProbekitError
from probekit.extractors.students.time_pooling import FrameClassifier


@dataclass(frozen=True)
class LevelGrid:
    """Spectra that a network reads, and that can be stored instead of waveforms.

    Attributes
    ----------
    frontend : str
        Identifies their values: front-end and its version.
    hop : int
        Samples from one spectrum to the next.
    extra : int
        Spectra beyond one for each whole hop.
    bands : int
        Numbers a spectrum.
    """

    frontend: str
    hop: int
    extra: int
    bands: int

    def frames(self, samples: int) -> int:
        """Return the number of spectra of so many samples."""
        return samples // self.hop + self.extra


@dataclass(frozen=True)
class FrameLayer:
    """The linear layer that makes logits of frames.

    Attributes
    ----------
    weight : Tensor, shape (classes, hidden)
        Rows of the classes.
    bias : Tensor, shape (classes,)
        Their intercepts.
    inputs : callable or None
        From embeddings, shape (clips, time, dim), to what the layer reads, shape
        (clips, time, hidden); None if it reads the embedding.
    attention : tuple of Tensor, optional
        Weight and bias of the layer of the attention, which reads the same, if that pools.
    """

    weight: Tensor
    bias: Tensor
    inputs: Callable[[Tensor], Tensor] | None = None
    attention: tuple[Tensor, Tensor] | None = None


class Student(nn.Module):
    """A trainable network of an encoder and a decoder.

    Parameters
    ----------
    name : str
        Its name in :func:`probekit.extractors.students.zoo.build_student`.
    params : dict of str to object
        A value for each of its parameters.
    classes : int >= 1
        Number of outputs.
    dim : int >= 1
        Length of the embedding, per frame.
    network : torch.nn.Module
        The network, with the state-dict keys of its checkpoints.

    Attributes
    ----------
    rate : int
        Sample rate in Hz.
    crop : fractions.Fraction
        Default length of its crops in seconds.
    min_samples : int
        Minimum length of a crop in samples.
    head : torch.nn.Module or None
        A decoder in place of the network's own; see :meth:`replace_classifier`.
    classifier_prefix : str
        Prefix of the state-dict keys of the network's last layer; empty if it is not known.
    pooling : str
        How its decoder pools the outputs of frames
        (:mod:`probekit.extractors.students.time_pooling`); empty if it has none.
    any_length : bool
        Whether it reads clips of any length at once.
    level_grid : LevelGrid or None
        Spectra that :meth:`frontend` takes in place of waveforms; None if it takes none.
    frontend_clips : int
        Training clips, at most, that constants of the front-end are estimated from.
    layer_dims : tuple of int
        Lengths of the outputs of its layers before the embedding; see :meth:`embed_layers`.
    """

    rate: int = 16000
    crop: Fraction = Fraction(5)
    min_samples: int = 1
    classifier_prefix: str = ""
    pooling: str = ""
    any_length: bool = False
    level_grid: LevelGrid | None = None
    frontend_clips: int = 2000
    layer_dims: tuple[int, ...] = ()

    def __init__(
        self, name: str, params: dict[str, Any], classes: int, dim: int, network: nn.Module
    ) -> None:
        super().__init__()
        self.name = name
        self.params = params
        self.classes = classes
        self.dim = dim
        self.network = network
        self.head: nn.Module | None = None
        self._frozen = False

    @property
    def spec(self) -> str:
        """The text that builds it again, with every parameter."""
        params = ",".join(f"{key}={value}" for key, value in sorted(self.params.items()))
        return f"{self.name}:{params}" if params else self.name

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return the grid and the number of the embedding's frames in a crop.

        Parameters
        ----------
        samples : int >= min_samples
            Length of the crop.

        Returns
        -------
        grid : FrameGrid
            In seconds from the start of the crop.
        steps : int >= 1
            Number of frames.

        Raises
        ------
        ProbekitError
            If the crop is too short.
        """
        self.check_length(samples)
        length = Fraction(samples, self.rate)
        return FrameGrid(length, length / 2, length), 1

    def check_length(self, samples: int) -> None:
        """Raise :class:`ProbekitError` if a crop is too short for the network."""
        if samples < self.min_samples:
            raise ProbekitError(
                f"student {self.name}: a crop must be >= {self.min_samples / self.rate:g} s "
                f"({self.min_samples} samples at {self.rate} Hz), got {samples / self.rate:g} s"
            )

    def encode(self, waves: Tensor) -> Tensor:
        """Embed crops.

        Parameters
        ----------
        waves : Tensor, shape (clips, samples), float32
            Crops at the sample rate :attr:`rate`.

        Returns
        -------
        Tensor, shape (clips, time, dim)
            One vector a frame. The front-end runs without autocast.
        """
        with torch.autocast(waves.device.type, enabled=False):
            features = self.frontend(waves)
        if self._frozen:
            with torch.no_grad():
                return self.embed(features)
        return self.embed(features)

    def fit_frontend(self, waves: Iterable[Tensor]) -> None:
        """Set constants of the front-end from training clips; by default there are none.

        Parameters
        ----------
        waves : iterable of Tensor, shape (clips, samples)
            Batches of crops; not read where there are no such constants.
        """

    def levels(self, waves: Tensor) -> Tensor:
        """Return the spectra of :attr:`level_grid`, shape (clips, frames, bands)."""
        raise NotImplementedError

    def frontend(self, waves: Tensor) -> Tensor:
        """Return the input of :meth:`embed` for waveforms, shape (clips, samples)."""
        return waves

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, time, dim), for the output of :meth:`frontend`."""
        raise NotImplementedError

    def embed_layers(self, features: Tensor) -> list[Tensor]:
        """Return the outputs of layers on the embedding's frames, the embedding last.

        Those before it are of shape (clips, time, dim), one for each of :attr:`layer_dims`.
        """
        return [self.embed(features)]

    def decode(self, embedding: Tensor) -> Tensor:
        """Classify embeddings.

        Parameters
        ----------
        embedding : Tensor, shape (clips, time, dim)
            From :meth:`encode`; of the new length after :meth:`replace_classifier`.

        Returns
        -------
        Tensor, shape (clips, classes)
            Logits, or values of a regression.
        """
        logits: Tensor = (self.original_logits if self.head is None else self.head)(embedding)
        return logits

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits of the network's own decoder; see :meth:`decode`."""
        raise NotImplementedError

    def forward(self, waves: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for crops, shape (clips, samples)."""
        return self.decode(self.encode(waves))

    def frame_logits(self, embedding: Tensor) -> Tensor | None:
        """Return logits of each frame, shape (clips, time, classes), before they are pooled.

        None if the decoder makes none.
        """
        if isinstance(self.head, FrameClassifier):
            return self.head.frame_logits(embedding)
        return None

    def frame_classifier(self) -> "FrameLayer | None":
        """Return the linear layer that makes logits of frames; None if there is none."""
        if isinstance(self.head, FrameClassifier):
            dense, attention = self.head.dense, self.head.attention
            weights = None if attention is None else (attention.weight, attention.bias)
            return FrameLayer(dense.weight, dense.bias, attention=weights)
        return None

    def classify_frames(self, pooling: str) -> None:
        """Replace the decoder by a linear layer on each frame, pooled over time."""
        self.replace_classifier(FrameClassifier(self.dim, self.classes, pooling))
        self.pooling = pooling

    def decoder(self, features: int) -> nn.Module:
        """Return a new decoder, like the network's own, for frames of another length.

        It maps (clips, time, features) to logits (clips, classes).
        """
        raise NotImplementedError

    def replace_classifier(self, decoder: nn.Module) -> None:
        """Use another decoder, and remove the layers of the network's own.

        It maps (clips, time, features) to logits (clips, classes).
        """
        self.remove_classifier()
        self.head = decoder

    def remove_classifier(self) -> None:
        """Remove the layers of its own decoder from the network."""
        raise NotImplementedError

    # ---- several targets

    def encode_branch(self, waves: Tensor, branch: int) -> Tensor:
        """Embed crops for one of several targets; as :meth:`encode` if all share the encoder.

        Parameters
        ----------
        waves : Tensor, shape (clips, samples), float32
            As for :meth:`encode`.
        branch : int >= 0
            Which target; 0 is that of :meth:`decode`.
        """
        return self.encode(waves)

    def official_weights(self) -> tuple[str, dict[str, Any], tuple[str, ...]] | None:
        """Return a file of weights that the extractor of the same name takes.

        Returns
        -------
        tuple or None
            Name of the file, its content, and the roles of weights that are in it besides
            ``main``; None if there is no such extractor, or it has another size or pooling.
        """
        return None

    def branch_decoder(self, outputs: int) -> nn.Module:
        """Return a new decoder for one of several targets, from what its branch embeds."""
        return PooledLinear(self.dim, outputs)

    def branch_parameters(self, branch: int) -> list[nn.Parameter]:
        """Return the parameters of a target, but those of its :meth:`branch_decoder`.

        By default all; without those of the network's own decoder for further targets.
        """
        if not branch or not self.classifier_prefix:
            return list(self.parameters())
        decoder = f"network.{self.classifier_prefix}"
        return [p for name, p in self.named_parameters() if not name.startswith(decoder)]

    def classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the last layer and the function that computes its input.

        Returns
        -------
        tuple or None
            A function from embeddings (clips, time, dim) to vectors, and the linear layer from
            these to logits; None if they are not known.
        """
        if isinstance(self.head, PooledLinear):
            return self.head.hidden, self.head.dense
        return None if self.head is not None else self.original_classifier()

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the same as :meth:`classifier` for the network's own decoder."""
        return None

    def freeze(self) -> None:
        """Freeze the encoder: no gradients, fixed running statistics, no dropout."""
        self._frozen = True
        self.network.requires_grad_(False)
        self.network.eval()

    def train(self, mode: bool = True) -> "Student":
        """Switch between training and evaluation; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.network.eval()
        return self


def set_band_statistics(spectra: Iterable[Tensor], mean: Tensor, deviation: Tensor) -> None:
    """Set mean and standard deviation of each mel band to those of spectra, in place.

    Parameters
    ----------
    spectra : iterable of Tensor, shape (clips, time, bands)
        Batches; without any, nothing is set.
    mean, deviation : Tensor, shape (bands,)
        Buffers of a network. Deviations are at least 1e-3, which is that of silence.
    """
    count, total, squares = 0, torch.zeros(1).double(), torch.zeros(1).double()
    for batch in spectra:
        levels = batch.double().flatten(0, 1)
        count += len(levels)
        total = total + levels.sum(0)
        squares = squares + levels.square().sum(0)
    if count:
        average = total / count
        mean.copy_(average)
        deviation.copy_((squares / count - average.square()).clamp(min=0).sqrt().clamp(min=1e-3))


class PooledLinear(nn.Module):
    """A decoder of the mean over time and one linear layer.

    Parameters
    ----------
    features : int >= 1
        Length of a frame.
    classes : int >= 1
        Number of outputs.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(features, classes)

    def hidden(self, frames: Tensor) -> Tensor:
        """Return means, shape (clips, features), of frames, shape (clips, time, features)."""
        return frames.mean(1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for frames, shape (clips, time, features)."""
        logits: Tensor = self.dense(self.hidden(frames))
        return logits
