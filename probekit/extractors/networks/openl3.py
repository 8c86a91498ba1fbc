"""The audio half of OpenL3 (Cramer et al., ICASSP 2019), with the weights of the openl3 package."""

import math
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params, Stream
from probekit.errors import ProbekitError
from probekit.extractors import frontends
from probekit.extractors.base import Outputs, WindowedExtractor
from probekit.extractors.weights import keras

SAMPLE_RATE = 48000
WIDTHS = (64, 64, 128, 128, 256, 256, 512)  # of the convolutions before audio_embedding_layer
HOP_LENGTH = 242
PADDING = {
    "A": (0, 1964),
    "B": (1024, 1024),
    "C": (982, 982),
}  # zeros around a window before mel spectra
FINAL_MAPS = {"linear": (32, 24), "mel128": (16, 24), "mel256": (32, 24)}  # frequency, time

_LAYERS = ["batch_normalization_1"]
for _i in range(1, 8):
    _LAYERS += [f"conv2d_{_i}", f"batch_normalization_{_i + 1}"]
_LAYERS.append("audio_embedding_layer")


class Network(nn.Module):
    """Eight convolutions; 4,687,042 parameters and 2,818 running statistics.

    Parameters
    ----------
    representation : {"linear", "mel128", "mel256"}
        Its input; decides only the last pooling.
    size : {512, 6144}
        Length of the embedding; decides only the last pooling.
    """

    def __init__(self, representation: str, size: int) -> None:
        super().__init__()
        self.batch_normalization_1 = nn.BatchNorm2d(1, eps=1e-3)
        channels = 1
        for i, width in enumerate(WIDTHS, start=1):
            self.add_module(f"conv2d_{i}", nn.Conv2d(channels, width, 3, padding=1))
            self.add_module(f"batch_normalization_{i + 1}", nn.BatchNorm2d(width, eps=1e-3))
            channels = width
        self.audio_embedding_layer = nn.Conv2d(channels, 512, 3, padding=1)
        high, long = FINAL_MAPS[representation]
        self.pool = nn.MaxPool2d((high, long) if size == 512 else (high // 4, long // 3))

    def forward(self, spectra: Tensor) -> Tensor:
        """Embed spectra in decibels from -80 to 0, shape (windows, 1, frequency, time).

        Returns shape (windows, size): frequency varies slowest, the 512 channels fastest.
        """
        return self.flatten(self.maps(spectra))

    def maps(self, spectra: Tensor) -> Tensor:
        """Return the last convolution's output, shape (windows, 512, frequency, time)."""
        return self.layers(spectra)[-1]

    def layers(self, spectra: Tensor) -> list[Tensor]:
        """Run the convolutions on spectra, as :meth:`forward`.

        Returns the output of each of seven convolutions after its ReLU, averaged over frequency and
        time, shape (windows, channels), and the maps of the eighth, as :meth:`maps`.
        """
        x, outputs = self.batch_normalization_1(spectra), []
        for i in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"conv2d_{i}")(x)
            x = self.get_submodule(f"batch_normalization_{i + 1}")(x).relu_()
            outputs.append(x.mean((2, 3)))
            if i % 2 == 0:
                x = nn.functional.max_pool2d(x, 2)
        return [*outputs, self.audio_embedding_layer(x)]

    def flatten(self, maps: Tensor) -> Tensor:
        """Pool the last convolution's output and return it as vectors, shape (windows, size)."""
        pooled: Tensor = self.pool(maps)
        return pooled.permute(0, 2, 3, 1).flatten(1)


class OpenL3(WindowedExtractor):
    """OpenL3 on windows of one second.

    The front-end computes in float64: the floor is 80 dB below the maximum of 10 log10 of a
    *magnitude*, a ratio of 1e8, where a float32 transform has only rounding errors. In recordings
    without high frequencies these would be visible, and differ between devices.
    """

    network: Network
    hann: Tensor
    filterbank: Tensor
    window = SAMPLE_RATE
    keep_tail = True
    batch_seconds = 4.0  # the first maps take 13 MB a window

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        seconds = float(params["hop"])
        if not (math.isfinite(seconds) and int(seconds * SAMPLE_RATE) >= 1):
            raise ProbekitError(
                f"{card.name}: hop must be at least one sample, 1/{SAMPLE_RATE} s, got {seconds} s"
            )
        self.hop = int(seconds * SAMPLE_RATE)
        self.lead = SAMPLE_RATE // 2 if params["center"] else 0
        representation = str(params["input"])
        self.network = Network(representation, int(params["size"]))
        self.n_mels = 0 if representation == "linear" else int(representation.removeprefix("mel"))
        self.n_fft = 2048 if self.n_mels else 512
        hann = torch.hann_window(self.n_fft, dtype=torch.float64)
        self.register_buffer("hann", hann, persistent=False)
        if self.n_mels:
            with warnings.catch_warnings():  # some of the original's filters are empty, too
                warnings.simplefilter("ignore", UserWarning)
                filterbank = frontends.mel_filterbank(
                    sr=SAMPLE_RATE,
                    n_fft=self.n_fft,
                    n_mels=self.n_mels,
                    mel_scale="htk" if params["frontend"] == "C" else "slaney",
                )
            self.register_buffer("filterbank", filterbank.double(), persistent=False)

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams with the dimension and grid of these parameters."""
        grid = {
            "hop": Fraction(self.hop, SAMPLE_RATE),
            "first_center": Fraction(self.window // 2 - self.lead, SAMPLE_RATE),
        }
        streams = {
            name: self.card.streams[name].model_copy(update=grid) for name in self.stream_names
        }
        if "embedding" in streams:
            size = {"dim": int(self.params["size"])}
            streams["embedding"] = streams["embedding"].model_copy(update=size)
        return streams

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return spectra in decibels below each window's maximum, floored at -80.

        Their shape is (windows, 1, frequency, time): 257 × 197 for linear spectra, 128 × 199 and
        256 × 199 for mel spectra.
        """
        levels = frontends.power_to_db(self._spectra(pieces.double()))
        levels = levels - levels.amax((1, 2), keepdim=True)
        return levels.clamp_min(-80).float().transpose(1, 2)[:, None]

    def _spectra(self, pieces: Tensor) -> Tensor:
        """Return magnitudes, shape (windows, time, frequency), float64."""
        if not self.n_mels:
            return frontends.stft_magnitude(
                pieces, n_fft=self.n_fft, hop_length=HOP_LENGTH, window=self.hann
            )
        kind = str(self.params["frontend"])
        mel = frontends.mel_spectrogram(
            nn.functional.pad(pieces, PADDING[kind]),
            n_fft=self.n_fft,
            hop_length=HOP_LENGTH,
            window=self.hann,
            filterbank=self.filterbank,
            power=2.0 if kind == "C" else 1.0,
        )
        return mel.sqrt() if kind == "C" else mel

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        *layers, maps = self.network.layers(features)
        outputs = {f"layer.{i}": layer for i, layer in enumerate(layers, start=1)}
        outputs["embedding"] = self.network.flatten(maps)
        return {name: outputs[name] for name in self.stream_names}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read ``openl3_audio_*.h5.gz``, or unpacked, as a state dict of :class:`Network`.

    Layers are taken in the file's order, since their names differ between versions of Keras. The
    constants of the spectrogram, the first layer in files up to v0_2_0, are left out.
    """
    layers = keras.read_layers(path)
    return keras.to_state_dict(path, [x for x in layers if "real_kernels" not in x[1]], _LAYERS)


build = OpenL3
