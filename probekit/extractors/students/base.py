"""What every student has: an encoder from sound to an embedding, and a decoder."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from probekit.errors import ProbekitError
from probekit.extractors.timegrid import FrameGrid


class Student(nn.Module):
    """A network in two halves.

    Parameters
    ----------
    name : str
        What :func:`probekit.extractors.students.zoo.build` knows it by.
    params : dict of str to object
        A value for each of its parameters.
    classes : int >= 1
        Outputs.
    dim : int >= 1
        Numbers a frame of the embedding.
    network : torch.nn.Module
        What is trained; its keys are those of the network's checkpoints.

    Attributes
    ----------
    rate : int
        Samples a second that it hears.
    crop : fractions.Fraction
        Seconds that it hears at once, by default.
    shortest : int
        The fewest samples that it takes.
    head : torch.nn.Module or None
        A decoder in place of the network's own; see :meth:`replace`.
    last : str
        Begin of the keys of the network's last layer, the one that belongs to the classes; empty
        where it is not known.
    """

    rate: int = 16000
    crop: Fraction = Fraction(5)
    min_samples: int = 1
    classifier_prefix: str = ""

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
        words = ",".join(f"{key}={value}" for key, value in sorted(self.params.items()))
        return f"{self.name}:{words}" if words else self.name

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return where the embedding's frames lie in a crop.

        Parameters
        ----------
        samples : int >= shortest
            Length of the crop.

        Returns
        -------
        grid : Grid
            In seconds from the crop's begin.
        steps : int >= 1
            How many frames there are.

        Raises
        ------
        ProbekitError
            If the crop is shorter than the network takes.
        """
        self.check_length(samples)
        length = Fraction(samples, self.rate)
        return FrameGrid(length, length / 2, length), 1

    def check_length(self, samples: int) -> None:
        """Raise :class:`ProbekitError` where a crop is shorter than the network takes."""
        if samples < self.min_samples:
            raise ProbekitError(
                f"student {self.name}: a crop of {samples / self.rate:g} s is too short; it takes "
                f"{self.min_samples / self.rate:g} s ({self.min_samples} samples at {self.rate} Hz) or "
                "more"
            )

    def encode(self, waves: Tensor) -> Tensor:
        """Embed crops.

        Parameters
        ----------
        waves : Tensor, shape (clips, samples), float32
            Crops at :attr:`rate`, samples as :meth:`frames` takes them.

        Returns
        -------
        Tensor, shape (clips, time, dim)
            One vector a frame. The front-end computes without autocast.
        """
        with torch.autocast(waves.device.type, enabled=False):
            features = self.frontend(waves)
        if self._frozen:
            with torch.no_grad():
                return self.embed(features)
        return self.embed(features)

    def frontend(self, waves: Tensor) -> Tensor:
        """Return what :meth:`embed` reads, for waveforms, shape (clips, samples)."""
        return waves

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings, shape (clips, time, dim), from what :meth:`frontend` returned."""
        raise NotImplementedError

    def decode(self, embedding: Tensor) -> Tensor:
        """Classify.

        Parameters
        ----------
        embedding : Tensor, shape (clips, time, dim)
            From :meth:`encode`; of the new length after :meth:`replace`.

        Returns
        -------
        Tensor, shape (clips, classes)
            Logits, or values of a regression.
        """
        logits: Tensor = (self.original_logits if self.head is None else self.head)(embedding)
        return logits

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits of the network's own decoder, as :meth:`decode`."""
        raise NotImplementedError

    def forward(self, waves: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for crops, shape (clips, samples)."""
        return self.decode(self.encode(waves))

    def decoder(self, features: int) -> nn.Module:
        """Return a fresh decoder, like the network's own, that reads other frames.

        Parameters
        ----------
        features : int >= 1
            Numbers a frame.

        Returns
        -------
        torch.nn.Module
            From (clips, time, features) to logits (clips, classes).
        """
        raise NotImplementedError

    def replace_classifier(self, decoder: nn.Module) -> None:
        """Use another decoder; the layers of the network's own are dropped.

        Parameters
        ----------
        decoder : torch.nn.Module
            From (clips, time, numbers) to logits (clips, classes).
        """
        self.remove_classifier()
        self.head = decoder

    def remove_classifier(self) -> None:
        """Take the layers of the own decoder out of the network."""
        raise NotImplementedError

    def classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return the last layer and the function that gives what it reads.

        Returns
        -------
        tuple or None
            A function from embeddings (clips, time, dim) to vectors, and the linear layer that
            makes logits of these; None where they are not known.
        """
        if isinstance(self.head, PooledLinear):
            return self.head.hidden, self.head.dense
        return None if self.head is not None else self.original_classifier()

    def original_classifier(self) -> tuple[Callable[[Tensor], Tensor], nn.Linear] | None:
        """Return what :meth:`output` does, of the network's own decoder."""
        return None

    def freeze(self) -> None:
        """Keep the encoder as it is: no gradients, running statistics stay, dropout is off."""
        self._frozen = True
        self.network.requires_grad_(False)
        self.network.eval()

    def train(self, mode: bool = True) -> "Student":
        """Switch to training, but for an encoder that is frozen."""
        super().train(mode)
        if self._frozen:
            self.network.eval()
        return self


class PooledLinear(nn.Module):
    """The mean over time, and one linear layer.

    Parameters
    ----------
    features : int >= 1
        Numbers a frame.
    classes : int >= 1
        Outputs.
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
