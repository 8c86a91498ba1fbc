"""A user's torch module as an extractor: waveforms go in, embeddings come out.

The card decides what the module reads: with ``long_audio: windowed`` windows of the length and hop
of its streams, with ``exact`` whole clips, with ``cropped`` the first ``max_seconds`` of a clip.
"""

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params, module_error
from probekit.errors import CardError
from probekit.extractors.base import (
    CroppedExtractor,
    Extractor,
    Outputs,
    WholeClipExtractor,
    WindowedExtractor,
)

_SPARE_FRAMES = 2  # by which numbers of frames may differ from the grid: padding, the last one


class _WaveformModule(Extractor):
    """What the three extractors share: the module reads pieces of waveforms.

    Parameters
    ----------
    card : ExtractorCard
        Its streams are compared with what the module returns.
    params : dict
        Those of the card are the arguments of the module.
    streams : sequence of str
        Names of the streams to compute.
    cls : type
        The module's class.
    """

    network: nn.Module

    def __init__(
        self,
        card: ExtractorCard,
        params: Params,
        streams: Sequence[str],
        cls: "type[nn.Module]",
    ) -> None:
        super().__init__(card, params, streams)
        arguments = {name: params[name] for name in card.parameters}
        try:
            self.network = cls(**arguments)
        except TypeError as error:
            listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            raise module_error(
                card,
                f"{cls.__name__}({listed}) cannot be built ({error}); its arguments are the "
                "parameters of the card",
            ) from error

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load weights; a checkpoint may have the state dict under a key such as ``model``."""
        super().load_weights({role: _state_dict(state) for role, state in states.items()})

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return the waveforms unchanged: the module has its own front-end."""
        return pieces

    def embed(self, features: Tensor) -> Outputs:
        """Call the module, and compare what it returns with the card."""
        outputs = self.network(features)
        if isinstance(outputs, Tensor):
            outputs = {self.card.default_stream: outputs}
        if not isinstance(outputs, Mapping):
            raise self._error(
                f"must return a tensor or a dictionary of streams, got {type(outputs).__name__}"
            )
        for name in self.stream_names:
            self._check_output(name, outputs.get(name), features)
        return {name: outputs[name] for name in self.stream_names}

    def _check_output(self, name: str, values: Any, pieces: Tensor) -> None:
        """Raise if a stream is not as the card says."""
        stream = self.streams[name]
        count, samples = pieces.shape
        time = stream.kind == "frames" and not isinstance(self, WindowedExtractor)
        shape = (count, "time", stream.dim) if time else (count, stream.dim)
        if not isinstance(values, Tensor):
            raise self._error(f"must return the stream {name!r}, got none of that name")
        correct = values.ndim == len(shape) and len(values) == count
        if not (correct and values.shape[-1] == stream.dim):
            expected = ", ".join(map(str, shape))
            raise self._error(
                f"{name}: must return shape ({expected}) for {count} waveforms as its card says, "
                f"got {tuple(values.shape)}"
            )
        if time:
            assert stream.hop is not None and stream.first_center is not None
            seconds = Fraction(samples, self.card.sample_rate)
            frames = max(1, (seconds - stream.first_center) // stream.hop + 1)
            if abs(values.shape[1] - frames) > _SPARE_FRAMES + frames // 50:
                raise self._error(
                    f"{name}: must return about {frames} frames for {float(seconds):g} s, one "
                    f"every {float(stream.hop):g} s as its card says, got {values.shape[1]}"
                )

    def _error(self, reason: str) -> CardError:
        return module_error(self.card, f"{type(self.network).__name__} {reason}")


class WindowModule(_WaveformModule, WindowedExtractor):
    """A module that reads windows, one embedding each."""

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], cls: "type[nn.Module]"
    ) -> None:
        super().__init__(card, params, streams, cls)
        grids = {(s.hop, s.first_center, s.window) for s in card.streams.values()}
        if len(grids) != 1 or None in next(iter(grids)):
            raise module_error(card, "all streams of windows must have the same frame grid")
        hop, first_center, window = (_samples(card, seconds) for seconds in next(iter(grids)))
        if first_center * 2 != window:
            half = float(window) / card.sample_rate / 2
            raise module_error(
                card,
                f"first_center must be half the window, {half:g} s: the first window begins with "
                "the clip",
            )
        self.window, self.hop = int(window), int(hop)


class WholeClipModule(_WaveformModule, WholeClipExtractor):
    """A module that reads whole clips; shorter ones are padded to its ``min_samples``, if any."""

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], cls: "type[nn.Module]"
    ) -> None:
        super().__init__(card, params, streams, cls)
        self.min_samples = int(getattr(self.network, "min_samples", 1))


class CropModule(_WaveformModule, CroppedExtractor):
    """A module that reads the beginning of clips, always of the same length."""

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], cls: "type[nn.Module]"
    ) -> None:
        super().__init__(card, params, streams, cls)
        if card.max_seconds is None:
            raise module_error(card, "long_audio: cropped needs max_seconds, the length of a crop")
        self.samples = int(_samples(card, Fraction(str(card.max_seconds))))


def build_waveform_module(
    cls: "type[nn.Module]", card: ExtractorCard, params: Params, streams: Sequence[str]
) -> Extractor:
    """Build the extractor of a user's torch module; see the module's documentation."""
    kinds = {"windowed": WindowModule, "exact": WholeClipModule, "cropped": CropModule}
    return kinds[card.long_audio](card, params, streams, cls)


def hash_state(extractor: Extractor, again: Extractor) -> str:
    """Return the SHA-256 of the parameters that a user's code brings with it; empty without any.

    Parameters
    ----------
    extractor, again : Extractor
        Built twice: parameters that differ are random.

    Raises
    ------
    CardError
        If they differ, since no embedding could be computed again.
    """
    if not any(True for _ in extractor.parameters()):
        return ""
    states = [module.state_dict() for module in (extractor, again)]
    digests = []
    for state in states:
        digest = hashlib.sha256()
        for name, value in sorted(state.items()):
            if isinstance(value, Tensor):
                array = value.detach().cpu().contiguous()
                digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
                digest.update(array.view(-1).view(torch.uint8).numpy().tobytes())
        digests.append(digest.hexdigest())
    if len(set(digests)) > 1:
        raise module_error(
            extractor.card,
            "its parameters are random: they differ each time that it is built. Save them "
            "(torch.save(module.state_dict(), 'network.pt')) and name the file in the card, "
            "weights: {main: {file: network.pt}}",
        )
    return digests[0]


def _state_dict(content: dict[str, Any]) -> dict[str, Tensor]:
    """Return the only dictionary of tensors in a checkpoint, or the checkpoint itself."""
    inner = [
        value
        for value in content.values()
        if isinstance(value, Mapping) and all(isinstance(v, Tensor) for v in value.values())
    ]
    tensors = any(isinstance(value, Tensor) for value in content.values())
    return dict(inner[0]) if len(inner) == 1 and not tensors else content


def _samples(card: ExtractorCard, seconds: Fraction | None) -> Fraction:
    """Return a length in samples; an error if it is not a whole number, or half of one."""
    assert seconds is not None
    samples = seconds * card.sample_rate
    if (2 * samples).denominator != 1:
        raise module_error(
            card,
            f"times must be whole numbers of samples, got {seconds} s at {card.sample_rate} Hz",
        )
    return samples
