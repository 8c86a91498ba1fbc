"""Waveforms become streams: the contract that every extractor keeps."""

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


def run_batched(
    run: Callable[[Tensor], dict[str, Tensor]], pieces: Tensor, size: int
) -> tuple[dict[str, Tensor], int]:
    """Apply a function to pieces, a batch at a time.

    Parameters
    ----------
    run : callable
        Takes pieces, shape (n, …), and returns tensors of which the first axis is that of pieces.
    pieces : Tensor, shape (pieces, …), pieces >= 1
        On the device where ``run`` computes.
    size : int >= 1
        Pieces at once. Where memory does not suffice, half of them are tried, and so on.

    Returns
    -------
    dict of str to Tensor
        What ``run`` returned, put together.
    int
        How many pieces at once were possible in the end.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single piece.
    """
    found: list[dict[str, Tensor]] = []
    rest = pieces
    while len(rest):
        batch = rest[:size]
        try:
            found.append(run(batch))
        except (RuntimeError, MemoryError) as error:
            if not memory.is_oom(error):
                raise
        else:
            rest = rest[size:]
            continue
        # only here, where the error is gone, nothing holds what did not fit
        memory.empty_cache(pieces.device)
        if len(batch) == 1:
            raise MemoryError(f"out of memory on {pieces.device} with a single piece")
        size = len(batch) // 2
    return {name: torch.cat([own[name] for own in found]) for name in found[0]}, size


Outputs = dict[str, Tensor]

_MORE_ON_A_DEVICE = 8  # times the audio: thousands of cores want more to do


@dataclass(frozen=True)
class Head:
    """A network's own classifier: what it was trained to tell apart.

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
    pooling : {"none", "mean", "lin", "attention"}
        How a clip's probabilities come from those of frames: ``none`` where the stream is one
        vector a clip, ``lin`` is Σp² / Σp.
    """

    classes: tuple[str, ...]
    weight: Tensor
    bias: Tensor
    stream: str
    pooling: str = "none"


class Extractor(nn.Module):
    """Base of all extractors.

    A subclass sets ``network`` (a module whose state-dict keys are the official checkpoint's, or
    None where there are no weights) and implements :meth:`split`, :meth:`frontend` and :meth:`embed`.
    Waveforms are cut into pieces of equal length, pieces of all clips go through front-end and
    network together, and the outputs go back to their clips: so a clip's embedding does not depend
    on its companions.

    Parameters
    ----------
    card : ExtractorCard
        Facts of this extractor.
    params : dict
        A value for every parameter of the card.
    wanted : sequence of str
        The streams to compute.
    """

    network: nn.Module | None
    batch_seconds: float = 60.0  # of audio that goes through the network at once, on a CPU
    batch_pieces: int = 1024  # at most

    def __init__(self, card: ExtractorCard, params: Params, wanted: Sequence[str]) -> None:
        super().__init__()
        self.network = None  # on the instance: a class attribute would hide the submodule
        self.card = card
        self.params = params
        self.wanted = tuple(wanted)
        self.precision = torch.float32
        self._longest = math.inf  # samples of a batch, once memory did not suffice for more

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams that a call returns, with dimension, kind and grid for these parameters."""
        return {name: self.card.streams[name] for name in self.wanted}

    def split(self, wave: Tensor) -> Tensor:
        """Cut one waveform into the pieces that the network sees.

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
        """Turn pieces into the network's input; runs in float32 at every precision.

        Parameters
        ----------
        pieces : Tensor, shape (pieces, samples)
            From :meth:`split`, of one or several clips.

        Returns
        -------
        Tensor, shape (pieces, …)
            The network's input.
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
            For each stream of ``wanted``: shape (pieces, dim), one vector a piece, or
            (pieces, time, dim).
        """
        raise NotImplementedError

    @property
    def sample_rate(self) -> int:
        """Hz, of the waveforms that it is called with."""
        return self.card.sample_rate

    def weights_target(self, role: str) -> nn.Module | None:
        """Return the module that takes the weights of a role, or None where there is none.

        Parameters
        ----------
        role : str
            A weights file of the card: ``"main"`` is :attr:`network`.

        Returns
        -------
        torch.nn.Module or None
            Its state dict has the file's keys.
        """
        return self.network if role == "main" else None

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Take weights: one state dict for each weights file of the card that is in use.

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
            part = self.weights_target(role)
            if part is None:
                raise WeightsError(f"{self.card.name} has no use for {role} weights")
            load_strict(part, state, f"{self.card.name}: {role} weights")

    def source_classes(self) -> tuple[str, ...]:
        """Return what the head tells apart, from the list that the card names."""
        file = self.card.classes_file
        return labels.load_labels(file) if file else ()

    def head(self) -> Head | None:
        """Return the network's own classifier, or None where it has none."""
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
        where = self.device
        cuts = [self.split(self._wave(wave).to(where, torch.float32)) for wave in waves]
        results: list[Outputs] = [{} for _ in cuts]
        for same in _by_length(cuts):
            outputs = self.run(torch.cat([cuts[i] for i in same]))
            counts = [len(cuts[i]) for i in same]
            for name, stream in self.streams.items():
                for i, own in zip(same, outputs[name].split(counts), strict=True):
                    flat = own.reshape(-1, stream.dim)
                    results[i][name] = flat if stream.kind == "frames" else flat[0]
        return results

    def _wave(self, wave: Tensor | npt.NDArray[Any]) -> Tensor:
        """Return a waveform as a tensor; a copy of an array, which may be read-only or reversed."""
        if not isinstance(wave, Tensor):
            wave = torch.from_numpy(np.array(wave, np.float32, order="C"))
        if wave.ndim != 1 or not len(wave):
            raise ProbekitError(
                f"{self.card.name}: a waveform of shape {tuple(wave.shape)}; call it with a list "
                f"of mono waveforms, each (samples,), at {self.card.sample_rate} Hz"
            )
        return wave

    @torch.inference_mode()
    def run(self, pieces: Tensor) -> Outputs:
        """Run front-end and network on pieces, some at a time.

        Parameters
        ----------
        pieces : Tensor, shape (pieces, samples of a piece)
            From :meth:`split`, of one or several clips, on the extractor's device.

        Returns
        -------
        dict of str to Tensor
            What :meth:`embed` returns for all of them, float32.
        """
        samples = pieces.shape[1]
        size = self.max_batch_size(samples)
        outputs, fitted = run_batched(self._run, pieces, size)
        if fitted < size:
            self._longest = fitted * samples
        return outputs

    def _run(self, pieces: Tensor) -> Outputs:
        return self.apply_network(self.frontend(pieces))

    def max_batch_size(self, samples: int) -> int:
        """Return how many pieces go through the network together.

        Parameters
        ----------
        samples : int >= 1
            Length of a piece.

        Returns
        -------
        int >= 1
            About :attr:`batch_seconds` of audio, eight times that on a GPU, and no more than
            memory sufficed for so far.
        """
        seconds = self.batch_seconds * (1 if self.device.type == "cpu" else _MORE_ON_A_DEVICE)
        fitting = int(min(seconds * self.card.sample_rate, self._longest)) // samples
        return max(1, min(fitting, self.batch_pieces))

    def apply_network(self, features: Tensor) -> Outputs:
        """Run :meth:`embed` at the extractor's precision.

        Parameters
        ----------
        features : Tensor, shape (pieces, …)
            From :meth:`frontend`.

        Returns
        -------
        dict of str to Tensor
            What :meth:`embed` returns, float32.
        """
        if self.precision == torch.float32:
            return self.embed(features)
        with torch.autocast(features.device.type, dtype=self.precision):
            return {name: out.float() for name, out in self.embed(features).items()}

    @property
    def device(self) -> torch.device:
        """Where the network and the front-end are, and so where a call runs."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")


class WindowedExtractor(Extractor):
    """An extractor that sees fixed windows: each window becomes one frame (or a fixed number).

    ``window`` and ``hop`` are in samples; ``lead`` zeros go in front of the clip. Where
    ``keep_tail`` is set, zeros are appended so that every sample is in some window; otherwise an
    incomplete last window is dropped. A clip shorter than one window is padded to it.
    """

    window: int
    hop: int
    lead: int = 0
    keep_tail: bool = False

    def windows(self, samples: int) -> int:
        """Return how many windows a clip has.

        Parameters
        ----------
        samples : int >= 1
            Length of the clip.

        Returns
        -------
        int >= 1
            As many as :meth:`split` makes.
        """
        beyond = max(0, self.lead + samples - self.window)
        return 1 + (-(-beyond // self.hop) if self.keep_tail else beyond // self.hop)

    def extent(self, first: int, count: int, samples: int) -> tuple[int, int, int, int]:
        """Say which samples a run of windows needs, so that a long clip can be read in pieces.

        ``pad(wave[start:stop], (before, after)).unfold(0, self.window, self.hop)`` gives these
        windows, the same as in :meth:`split`.

        Parameters
        ----------
        first : int >= 0
            Number of the first window.
        count : int >= 1
            How many windows.
        samples : int >= 1
            Length of the whole clip.

        Returns
        -------
        start, stop : int, 0 <= start <= stop <= samples
            The samples of the clip.
        before, after : int >= 0
            How many zeros go in front of them and behind.

        Raises
        ------
        ValueError
            If the clip has no such windows.
        """
        if first < 0 or count < 1 or first + count > self.windows(samples):
            raise ValueError(
                f"windows {first} to {first + count - 1}: a clip of {samples} samples has "
                f"{self.windows(samples)}"
            )
        begin = first * self.hop - self.lead
        end = begin + (count - 1) * self.hop + self.window
        start, stop = (min(max(place, 0), samples) for place in (begin, end))
        before = min(end, 0) - min(begin, 0)
        after = max(end, samples) - max(begin, samples)
        return start, stop, before, after

    def split(self, wave: Tensor) -> Tensor:
        """Cut a waveform into overlapping windows; see :class:`Extractor`."""
        start, stop, *zeros = self.extent(0, self.windows(len(wave)), len(wave))
        return nn.functional.pad(wave[start:stop], zeros).unfold(0, self.window, self.hop)


def _by_length(cuts: Sequence[Tensor]) -> list[list[int]]:
    """Group clips whose pieces have the same number of samples."""
    groups: dict[int, list[int]] = {}
    for i, pieces in enumerate(cuts):
        groups.setdefault(pieces.shape[1], []).append(i)
    return list(groups.values())
