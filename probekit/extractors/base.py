"""Base classes of extractors: from waveforms to streams of embeddings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params, Stream
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors import labels, memory
from probekit.extractors.weights.state_dict import load_strict

Outputs = dict[str, Tensor]

_GPU_BATCH_FACTOR = 8  # times the audio of a CPU batch: thousands of cores need more work


@dataclass(frozen=True)
class Head:
    """A network's own classifier.

    Attributes
    ----------
    classes : tuple of str
        Source classes, one a row of ``weight``.
    weight : Tensor, shape (classes, dim)
        Rows of the last linear layer.
    bias : Tensor, shape (classes,)
        Its intercepts.
    stream : str
        The stream that the layer reads.
    pooling : {"none", "mean", "max", "lin", "exp", "attention"}
        How a clip's probabilities come from those of frames: ``none`` for a stream of one
        vector a clip, ``lin`` is Σp² / Σp, ``exp`` is Σp exp(p) / Σ exp(p), ``attention`` is Σpa
        with a = softmax over time.
    attention : tuple of Tensor, optional
        For ``attention``: weight and bias of the linear layer, on the same stream, whose softmax
        weighs the frames for each class.
    """

    classes: tuple[str, ...]
    weight: Tensor
    bias: Tensor
    stream: str
    pooling: str = "none"
    attention: tuple[Tensor, Tensor] | None = None


def run_batched(
    function: Callable[[Tensor], Outputs], pieces: Tensor, batch_size: int
) -> tuple[Outputs, int]:
    """Apply a function to pieces in batches, smaller ones where memory does not suffice.

    Returns the concatenated outputs and the batch size that fitted in the end. Raises
    ``MemoryError`` if a single piece does not fit.
    """
    outputs: list[Outputs] = []
    rest = pieces
    while len(rest):
        batch = rest[:batch_size]
        try:
            outputs.append(function(batch))
        except (RuntimeError, MemoryError) as error:
            if not memory.is_oom(error):
                raise
        else:
            rest = rest[batch_size:]
            continue
        # outside of the handler: the exception, which holds what did not fit, is released
        memory.empty_cache(pieces.device)
        if len(batch) == 1:
            raise MemoryError(f"out of memory on {pieces.device} with a single piece")
        batch_size = len(batch) // 2
    if len(outputs) == 1:
        return outputs[0], batch_size
    return {name: torch.cat([part[name] for part in outputs]) for name in outputs[0]}, batch_size


class Extractor(nn.Module):
    """Base class of all extractors.

    A subclass sets ``network`` (a module with the state-dict keys of the official checkpoint, or
    None if there are no weights) and implements :meth:`frontend`, :meth:`embed` and, unless it
    derives from one of the classes below, :meth:`split`. Waveforms are split into pieces of equal
    length, pieces of all clips go through front-end and network together, and the outputs go back
    to their clips, so that a clip's embedding does not depend on its companions.

    Parameters
    ----------
    card : ExtractorCard
        Facts about this extractor.
    params : dict
        A value for every parameter of the card.
    streams : sequence of str
        Names of the streams to compute.

    See Also
    --------
    WindowedExtractor : Networks that read fixed windows.
    WholeClipExtractor : Networks that read a whole clip of any length.
    CroppedExtractor : Networks that read the first seconds of a clip.
    """

    network: nn.Module | None
    batch_seconds: float = 60.0  # audio in a batch on a CPU
    batch_pieces: int = 1024  # at most

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__()
        self.network = None  # on the instance: a class attribute would hide the submodule
        self.card = card
        self.params = params
        self.stream_names = tuple(streams)
        self.precision = torch.float32
        self._max_batch_samples = math.inf  # lowered when memory does not suffice

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams that a call returns, with dimension, kind and grid for these parameters."""
        return {name: self.card.streams[name] for name in self.stream_names}

    def split(self, wave: Tensor) -> Tensor:
        """Split one waveform into the pieces that the network reads.

        Parameters
        ----------
        wave : Tensor, shape (samples,), samples >= 1
            Mono, at the card's sample rate.

        Returns
        -------
        Tensor, shape (pieces, samples of a piece)
            At least one piece; padded as the card says.
        """
        raise NotImplementedError

    def frontend(self, pieces: Tensor) -> Tensor:
        """Compute the network's input; runs in float32 at every precision.

        Parameters
        ----------
        pieces : Tensor, shape (pieces, samples)
            From :meth:`split`, of one or several clips.

        Returns
        -------
        Tensor, shape (pieces, …)
            For example log-mel spectrograms.
        """
        raise NotImplementedError

    def embed(self, features: Tensor) -> Outputs:
        """Run the network.

        Parameters
        ----------
        features : Tensor, shape (pieces, …)
            From :meth:`frontend`.

        Returns
        -------
        dict of str to Tensor
            For each name in ``stream_names``: shape (pieces, dim), one vector a piece, or
            (pieces, time, dim).
        """
        raise NotImplementedError

    def runtime(self) -> dict[str, str]:
        """Return versions and settings of further libraries that compute it, for provenance."""
        return {}

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms that it takes, in Hz."""
        return self.card.sample_rate

    def weights_target(self, role: str) -> nn.Module | None:
        """Return the module that takes the weights of a role, or None if there is none.

        Parameters
        ----------
        role : str
            Name of a weights file in the card; ``"main"`` is for :attr:`network`.

        Returns
        -------
        torch.nn.Module or None
            Its state dict has the file's keys.
        """
        return self.network if role == "main" else None

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load one state dict for each weights file of the card that is in use.

        Parameters
        ----------
        states : dict of str to dict
            Name of the weights file (usually ``"main"``) to its tensors, in official keys.

        Raises
        ------
        WeightsError
            If a tensor is missing, unknown, or of another shape than the network's.
        """
        for role, state in states.items():
            target = self.weights_target(role)
            if target is None:
                raise WeightsError(f"{self.card.name} takes no {role} weights")
            load_strict(target, state, f"{self.card.name}: {role} weights")

    def source_classes(self) -> tuple[str, ...]:
        """Return the head's class names, from the list that the card names."""
        file = self.card.classes_file
        return labels.load_labels(file) if file else ()

    def head(self) -> Head | None:
        """Return the network's own classifier, or None if it has none."""
        return None

    @torch.inference_mode()
    def forward(self, waves: Sequence[Tensor | npt.NDArray[Any]]) -> list[Outputs]:
        """Embed clips.

        Parameters
        ----------
        waves : sequence of Tensor or numpy.ndarray, each of shape (samples,)
            Mono, in [-1, 1], at the card's sample rate, of any lengths of at least one sample;
            tensors on any device.

        Returns
        -------
        list of dict of str to Tensor
            For each clip and stream: float32 of shape (time, dim) for frames, (dim,) for kind
            ``clip``.

        Raises
        ------
        ProbekitError
            If a waveform is not of that shape.
        """
        device = self.device
        clips = [self.split(self._to_tensor(wave).to(device, torch.float32)) for wave in waves]
        results: list[Outputs] = [{} for _ in clips]
        for indices in _group_by_length(clips):
            outputs = self.run(torch.cat([clips[i] for i in indices]))
            counts = [len(clips[i]) for i in indices]
            for name, stream in self.streams.items():
                for i, values in zip(indices, outputs[name].split(counts), strict=True):
                    flat = values.reshape(-1, stream.dim)
                    results[i][name] = flat if stream.kind == "frames" else flat[0]
        return results

    def _to_tensor(self, wave: Tensor | npt.NDArray[Any]) -> Tensor:
        """Check a waveform and convert it; an array, maybe read-only or reversed, is copied."""
        if not isinstance(wave, Tensor):
            wave = torch.from_numpy(np.array(wave, np.float32, order="C"))
        if wave.ndim != 1 or not len(wave):
            raise ProbekitError(
                f"{self.card.name}: a waveform must have the shape (samples,), got "
                f"{tuple(wave.shape)}. Pass a list of mono waveforms at {self.card.sample_rate} Hz"
            )
        return wave

    @torch.inference_mode()
    def run(self, pieces: Tensor) -> Outputs:
        """Run front-end and network on pieces, in batches.

        Parameters
        ----------
        pieces : Tensor, shape (pieces, samples of a piece)
            From :meth:`split`, of one or several clips, on the extractor's device.

        Returns
        -------
        dict of str to Tensor
            Outputs of :meth:`embed` for all of them, float32.
        """
        samples = pieces.shape[1]
        size = self.max_batch_size(samples)
        outputs, fitted = run_batched(self._run, pieces, size)
        if fitted < size:
            self._max_batch_samples = fitted * samples
        return outputs

    def _run(self, pieces: Tensor) -> Outputs:
        return self.apply_network(self.frontend(pieces))

    def max_batch_size(self, samples: int) -> int:
        """Return how many pieces of a length in samples go through the network together.

        That is about :attr:`batch_seconds` of audio, eight times as much on a GPU, and no more
        than has fitted into memory so far.
        """
        seconds = self.batch_seconds * (1 if self.device.type == "cpu" else _GPU_BATCH_FACTOR)
        limit = int(min(seconds * self.card.sample_rate, self._max_batch_samples)) // samples
        return max(1, min(limit, self.batch_pieces))

    def apply_network(self, features: Tensor) -> Outputs:
        """Run :meth:`embed` at the extractor's precision.

        Parameters
        ----------
        features : Tensor, shape (pieces, …)
            From :meth:`frontend`.

        Returns
        -------
        dict of str to Tensor
            Outputs of :meth:`embed`, float32.
        """
        if self.precision == torch.float32:
            return self.embed(features)
        with torch.autocast(features.device.type, dtype=self.precision):
            return {name: out.float() for name, out in self.embed(features).items()}

    @property
    def device(self) -> torch.device:
        """Device of the network and the front-end."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")


class WindowedExtractor(Extractor):
    """An extractor that reads fixed windows; each window becomes one frame (or a fixed number).

    A clip shorter than one window is padded with zeros.

    Attributes
    ----------
    window, hop : int
        Length of a window and distance between the starts of windows, in samples.
    lead : int
        Number of zeros in front of the clip.
    keep_tail : bool
        Whether zeros are appended so that every sample is in some window; otherwise an incomplete
        last window is dropped.
    """

    window: int
    hop: int
    lead: int = 0
    keep_tail: bool = False

    def windows(self, samples: int) -> int:
        """Return the number of windows of a clip of a length in samples."""
        beyond = max(0, self.lead + samples - self.window)
        return 1 + (-(-beyond // self.hop) if self.keep_tail else beyond // self.hop)

    def extent(self, first: int, count: int, samples: int) -> tuple[int, int, int, int]:
        """Return the samples that a range of windows covers, to read a long clip in blocks.

        ``pad(wave[start:stop], (before, after)).unfold(0, self.window, self.hop)`` are these
        windows, as in :meth:`split`.

        Parameters
        ----------
        first : int >= 0
            Index of the first window.
        count : int >= 1
            Number of windows.
        samples : int >= 1
            Length of the clip.

        Returns
        -------
        start, stop : int, 0 <= start <= stop <= samples
            Range of samples of the clip.
        before, after : int >= 0
            Numbers of zeros before and after them.

        Raises
        ------
        ValueError
            If the clip has no such windows.
        """
        if first < 0 or count < 1 or first + count > self.windows(samples):
            raise ValueError(
                f"windows {first} to {first + count - 1} are out of range: a clip of {samples} "
                f"samples has {self.windows(samples)}"
            )
        begin = first * self.hop - self.lead
        end = begin + (count - 1) * self.hop + self.window
        start, stop = (min(max(edge, 0), samples) for edge in (begin, end))
        before = min(end, 0) - min(begin, 0)
        after = max(end, samples) - max(begin, samples)
        return start, stop, before, after

    def split(self, wave: Tensor) -> Tensor:
        """Split a waveform into overlapping windows, shape (windows, window)."""
        start, stop, *zeros = self.extent(0, self.windows(len(wave)), len(wave))
        return nn.functional.pad(wave[start:stop], zeros).unfold(0, self.window, self.hop)


class WholeClipExtractor(Extractor):
    """An extractor that reads a whole clip as one piece.

    Attributes
    ----------
    min_samples : int
        Zeros follow a shorter clip up to this length.
    """

    min_samples: int = 1

    def split(self, wave: Tensor) -> Tensor:
        """Return the clip as one piece, shape (1, samples)."""
        missing = self.min_samples - len(wave)
        return (nn.functional.pad(wave, (0, missing)) if missing > 0 else wave)[None]


class CroppedExtractor(Extractor):
    """An extractor that reads the beginning of a clip.

    Attributes
    ----------
    samples : int
        Length of what it reads; zeros follow a shorter clip.
    """

    samples: int

    def split(self, wave: Tensor) -> Tensor:
        """Return the beginning of the clip as one piece, shape (1, samples)."""
        crop = wave[: self.samples]
        return nn.functional.pad(crop, (0, self.samples - len(crop)))[None]


def _group_by_length(clips: Sequence[Tensor]) -> list[list[int]]:
    """Return groups of indices of clips whose pieces have the same number of samples."""
    groups: dict[int, list[int]] = {}
    for i, pieces in enumerate(clips):
        groups.setdefault(pieces.shape[1], []).append(i)
    return list(groups.values())
