"""musicnn (Pons and Serra, 2019): tagging networks with filters of musical shapes."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends, labels
from probekit.extractors.base import Head, Outputs, WindowedExtractor
from probekit.extractors.weights import npz, tensor_bundle

SAMPLE_RATE = 16000
N_FFT = 512
HOP_LENGTH = 256
N_MELS = 96
FRAMES = 187  # of a patch of 3 s
TAGS = {"MTT": "mtat50.txt", "MSD": "msd50.txt"}

_LARGEST = 65504.0  # of float16
# CRC-32 of the biases of the published last layers: the files of a network differ in values only
_PUBLISHED = {
    3388325498: "MTT_musicnn",
    2989523518: "MSD_musicnn",
    2863035853: "MTT_vgg",
    3864282184: "MSD_vgg",
}
_OPTIMIZER = ("Adam", "Adam_1", "beta1_power", "beta2_power")
_RENAMED = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Block(nn.Module):
    """A convolution with ReLU and batch normalization; zeros around it keep the length in time."""

    def __init__(self, channels: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, size)
        self.norm = nn.BatchNorm2d(width, eps=1e-3)
        self.before = (size[0] - 1) // 2  # TensorFlow puts the odd zero at the end
        self.after = size[0] - 1 - self.before

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the block to maps, shape (patches, channels, time, bands)."""
        padded = nn.functional.pad(maps, (0, 0, self.before, self.after))
        output: Tensor = self.norm(self.conv(padded).relu_())
        return output


class Network(nn.Module):
    """Five kinds of filters side by side, three convolutions over time, two dense layers.

    787,159 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=1e-3)
        timbral = [Block(1, 204, (7, bands)) for bands in (38, 67)]
        temporal = [Block(1, 51, (frames, 1)) for frames in (128, 64, 32)]
        self.front = nn.ModuleList([*timbral, *temporal])
        self.middle = nn.ModuleList([Block(1, 64, (7, width)) for width in (561, 64, 64)])
        self.pool_norm = nn.BatchNorm1d(2 * 753, eps=1e-3)
        self.dense = nn.Linear(2 * 753, 200)
        self.dense_norm = nn.BatchNorm1d(200, eps=1e-3)
        self.output = nn.Linear(200, 50)

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Run the layers on log-mel spectra, shape (patches, 1, time, 96).

        Returns the maps over time, shape (patches, channels, time): ``frontend`` (timbral filters
        first), ``cnn1``, ``cnn2``, ``cnn3``; and vectors: ``max_pool``, ``mean_pool``,
        ``penultimate``.
        """
        spectra = self.norm(patches)
        outputs = {"frontend": torch.cat([block(spectra).amax(3) for block in self.front], 1)}
        x = outputs["frontend"]
        for i, block in enumerate(self.middle, start=1):
            y = block(x.transpose(1, 2)[:, None])[..., 0]
            x = y if i == 1 else x + y
            outputs[f"cnn{i}"] = x
        maps = torch.cat(list(outputs.values()), 1)
        outputs["max_pool"], outputs["mean_pool"] = maps.amax(2), maps.mean(2)
        pooled = torch.stack([outputs["max_pool"], outputs["mean_pool"]], 2).flatten(1)
        hidden = self.dense(self.pool_norm(pooled)).relu()
        outputs["penultimate"] = self.dense_norm(hidden)
        return outputs


class PatchExtractor(WindowedExtractor):
    """Base of musicnn's networks: log-mel spectra of a clip in patches of 3 s, side by side.

    An incomplete last patch is dropped, as in the original, except of a clip shorter than a patch,
    which zeros follow.
    """

    hann: Tensor
    filterbank: Tensor
    window = (FRAMES - 1) * HOP_LENGTH + N_FFT
    hop = FRAMES * HOP_LENGTH
    lead = N_FFT // 2
    last: str  # name of the last layer's biases in the state dict
    batch_seconds = 12.0  # the first maps take 9 MB a patch, and padded copies as much

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        bank = frontends.mel_filterbank(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)
        self.register_buffer("hann", frontends.hann(N_FFT, torch.float64), persistent=False)
        self.register_buffer("filterbank", bank.double(), persistent=False)

    def windows(self, samples: int) -> int:
        """Return the number of patches; frames are centered, the last half on zeros."""
        beyond = max(0, samples // HOP_LENGTH + 1 - FRAMES) * HOP_LENGTH
        return 1 + beyond // self.hop

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return log10(10000 x + 1) of mel powers x, shape (patches, 1, 187, 96).

        Powers are rounded to float16, as in the original; those beyond float16 are its largest
        number, where the original's became infinite.
        """
        mel = frontends.mel_spectrogram(
            pieces.double(),
            n_fft=N_FFT,
            hop_length=HOP_LENGTH,
            window=self.hann,
            filterbank=self.filterbank,
        )
        rounded = mel.clamp_max(_LARGEST).half().float()
        return torch.log10(10000 * rounded + 1)[:, None]

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load weights; published ones of the other training set are refused."""
        for state in states.values():
            bias = state.get(self.last)
            if isinstance(bias, Tensor):
                trained = _PUBLISHED.get(zlib.crc32(bias.float().numpy().tobytes()))
                if trained and trained != self.params["model"]:
                    raise WeightsError(
                        f"{self.card.name}: these are the weights of {trained}, not of "
                        f"{self.params['model']}, and the tags are others: write -e "
                        f"{'musicnn-vgg' if 'vgg' in trained else 'musicnn'}:model={trained}"
                    )
        super().load_weights(states)

    def source_classes(self) -> tuple[str, ...]:
        """Return the 50 tags of the data set that the model was trained on."""
        return labels.load_labels(TAGS[str(self.params["model"])[:3]])


class Musicnn(PatchExtractor):
    """Network musicnn on patches of 3 s."""

    network: Network
    last = "output.bias"

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        outputs = self.network(features)
        for name in ("frontend", "cnn1", "cnn2", "cnn3"):
            outputs[name] = outputs[name].mean(2)
        outputs["timbral"], outputs["temporal"] = outputs["frontend"].split((408, 153), 1)
        if "taggram" in self.stream_names:
            outputs["taggram"] = self.network.output(outputs["penultimate"]).sigmoid()
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer of 50 tags."""
        last = self.network.output
        tags = self.source_classes()
        return Head(tags, last.weight.detach(), last.bias.detach(), "penultimate", "mean")


def rename(path: Path, names: dict[str, str]) -> dict[str, Tensor]:
    """Read a checkpoint of TensorFlow, or an npz file of its variables, as a state dict.

    ``names`` are the layers' names in the state dict by their names in the file. The optimizer's
    variables are left out; others keep their names, and are reported as unexpected.
    """
    checkpoint = tensor_bundle.is_data_file(path)
    variables = tensor_bundle.read_variables(path) if checkpoint else npz.read_npz(path)
    state: dict[str, Tensor] = {}
    for key, array in variables.items():
        layer, _, kind = key.rpartition("/")
        if kind in _OPTIMIZER:
            continue
        if layer not in names or kind not in _RENAMED:
            state[key] = torch.from_numpy(array.copy())
            continue
        if kind == "kernel":
            array = np.moveaxis(array, (-1, -2), (0, 1))
        name = f"{names[layer]}.{_RENAMED[kind]}"
        state[name] = torch.from_numpy(np.array(array, np.float32, order="C"))
        if kind == "moving_variance":
            state[f"{names[layer]}.num_batches_tracked"] = torch.tensor(0)
    return state


def _layers() -> dict[str, str]:
    """Return the names of the layers in the state dict by those in TensorFlow."""
    modules = [f"front.{i}" for i in range(5)] + [f"middle.{i}" for i in range(3)]
    names = {"batch_normalization": "norm"}
    for i, module in enumerate(modules):
        names[f"conv2d_{i}" if i else "conv2d"] = f"{module}.conv"
        names[f"batch_normalization_{i + 1}"] = f"{module}.norm"
    return names | {
        "batch_normalization_9": "pool_norm",
        "dense": "dense",
        "batch_normalization_10": "dense_norm",
        "dense_1": "output",
    }


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint, or an npz file of its variables, as a state dict of :class:`Network`."""
    return rename(path, _layers())


build = Musicnn
