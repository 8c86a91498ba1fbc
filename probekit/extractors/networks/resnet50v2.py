"""ResNet50V2 as Keras has it (He et al., ECCV 2016), on mel spectra: the network of lee2021."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends
from probekit.extractors.base import CroppedExtractor, Outputs
from probekit.extractors.weights import keras

SAMPLE_RATE = 22050
SAMPLES = 5 * SAMPLE_RATE
N_MELS = 128
STAGES = ((1, 3), (2, 4), (4, 6), (8, 3))  # width, as a multiple of the first stage's; blocks
EXPANSION = 4

_TOP_DB = 80.0
_EPS, _MOMENTUM = 1.001e-5, 0.01  # Keras's momentum is 0.99 for what torch calls 0.01
_HEAD_EPS = 1e-3


class MelImage(nn.Module):
    """Mel spectra as an image: from 80 dB below the clip's maximum to the maximum as -1 to 1.

    480 centered frames of 1,024 samples for 5 s at 22,050 Hz; 128 bands of Slaney's scale and norm
    from 50 to 10,000 Hz. The level of a clip does not matter; silence is -1
    everywhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = frontends.LogMel(
            sr=SAMPLE_RATE,
            n_fft=1024,
            hop_length=230,
            n_mels=N_MELS,
            fmin=50,
            fmax=10000,
            amin=1e-30,  # the floor is the clip's own, at any level
        )

    def forward(self, waves: Tensor) -> Tensor:
        """Transform waveforms, shape (clips, samples), to (clips, 1, 128, 1 + samples // 230)."""
        levels = self.log_mel(waves).transpose(1, 2)
        peak = levels.amax((1, 2), keepdim=True)
        image = 1 + (levels - peak).clamp_min(-_TOP_DB) / (_TOP_DB / 2)
        silent = (waves == 0).all(dim=1)[:, None, None]
        return torch.where(silent, -1.0, image)[:, None]


class Block(nn.Module):
    """Bottleneck with pre-activation; its first convolution and a new shortcut read the activation.

    Parameters
    ----------
    in_width, width : int
        Channels of the input, and of the bottleneck; the output has four times as many.
    stride : int
        Of the 3 × 3 convolution.
    projects : bool
        Whether the shortcut is a convolution; else the input, every second value with a stride.
    """

    def __init__(self, in_width: int, width: int, stride: int, *, projects: bool) -> None:
        super().__init__()
        out = EXPANSION * width
        self.stride = stride
        self.preact_bn = _batch_norm(in_width)
        self.projection = nn.Conv2d(in_width, out, 1) if projects else None
        self.conv1 = nn.Conv2d(in_width, width, 1, bias=False)
        self.bn1 = _batch_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = _batch_norm(width)
        self.conv3 = nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps, shape (clips, 4 · width, …), of maps, shape (clips, in_width, …)."""
        active = self.preact_bn(x).relu()
        if self.projection is not None:
            x = self.projection(active)
        elif self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        hidden = self.bn1(self.conv1(active)).relu()
        hidden = self.bn2(self.conv2(hidden)).relu()
        return x + self.conv3(hidden)


class Network(nn.Module):
    """ResNet50V2 without its top, and a head of two dense layers where classes are given.

    23,564,800 numbers with width 64 and without a head.

    Parameters
    ----------
    classes : int >= 0
        Outputs of the head; 0 for no head.
    width : int >= 1
        Channels of the first convolution; 64 in Keras.
    """

    def __init__(self, classes: int = 0, width: int = 64) -> None:
        super().__init__()
        self.dim = STAGES[-1][0] * width * EXPANSION
        self.mel = MelImage()
        self.conv1_conv = nn.Conv2d(3, width, 7, 2, padding=3)
        in_width = width
        for number, (factor, blocks) in enumerate(STAGES, start=2):
            for index in range(1, blocks + 1):
                # Keras halves the maps in the last block of a stage
                stride = 2 if index == blocks and number < 5 else 1
                block = Block(in_width, factor * width, stride, projects=index == 1)
                self.add_module(f"conv{number}_block{index}", block)
                in_width = EXPANSION * factor * width
        self.post_bn = _batch_norm(in_width)
        self.head = Head(self.dim, classes) if classes else nn.Identity()
        self.apply(_initialize)

    def encode_spectra(self, image: Tensor) -> Tensor:
        """Embed images, shape (clips, 1 or 3, bands, frames): means over the maps, (clips, dim)."""
        return self.taps(image)["post"].mean((2, 3))

    def taps(self, image: Tensor) -> dict[str, Tensor]:
        """Return the maps of the stem (``conv1``, ``pool1``), of all blocks, and ``post``."""
        x = self.conv1_conv(image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image)
        maps = {"conv1": x}
        # the maximum sees zeros at the borders, and values may be negative: no padding of its own
        x = nn.functional.max_pool2d(nn.functional.pad(x, (1, 1, 1, 1)), 3, 2)
        maps["pool1"] = x
        for number, (_, blocks) in enumerate(STAGES, start=2):
            for index in range(1, blocks + 1):
                x = self.get_submodule(f"conv{number}_block{index}")(x)
                maps[f"conv{number}.block{index}"] = x
            maps[f"conv{number}"] = x
        maps["post"] = self.post_bn(x).relu()
        return maps


class Head(nn.Module):
    """A dense layer of 128, batch normalization, ReLU, and a dense layer (lee2021)."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(features, 128)
        self.bn = nn.BatchNorm1d(128, eps=_HEAD_EPS, momentum=_MOMENTUM)
        self.dense2 = nn.Linear(128, outputs)
        self.apply(_initialize)

    def hidden(self, embedding: Tensor) -> Tensor:
        """Return what the last layer reads, (clips, 128), for embeddings, (clips, features)."""
        hidden: Tensor = self.bn(self.dense1(embedding)).relu()
        return hidden

    def forward(self, embedding: Tensor) -> Tensor:
        """Return outputs, shape (clips, outputs), for embeddings, shape (clips, features)."""
        outputs: Tensor = self.dense2(self.hidden(embedding))
        return outputs


class ResNet50V2(CroppedExtractor):
    """The network on the first 5 s of a clip."""

    network: Network
    samples = SAMPLES
    batch_seconds = 40.0

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return mel images, shape (clips, 1, 128, 480)."""
        image: Tensor = self.network.mel(pieces)
        return image

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        return {"embedding": self.network.encode_spectra(features)}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file of Keras without top as a state dict of :class:`Network`, by name."""
    layers = dict(keras.read_layers(path))
    names = dict(_layer_names())
    top = sorted(layers.keys() & {"predictions", "probs"})
    if top:
        raise WeightsError(
            f"{path}: has the top layer {top[0]!r} of ImageNet's classes; use the file without top "
            "(…_notop.h5)"
        )
    missing, unknown = sorted(names.keys() - layers), sorted(layers.keys() - names)
    if missing or unknown:
        which = f"lacks the layer {missing[0]}" if missing else f"has the layer {unknown[0]}"
        raise WeightsError(f"{path}: not ResNet50V2 of Keras: {which}")
    order = list(names)
    return keras.to_state_dict(
        path, [(name, layers[name]) for name in order], [names[name] for name in order]
    )


def _layer_names() -> list[tuple[str, str]]:
    """Return Keras's name of each layer with weights, and this module's."""
    names = [("conv1_conv", "conv1_conv")]
    for number, (_, blocks) in enumerate(STAGES, start=2):
        for index in range(1, blocks + 1):
            block = f"conv{number}_block{index}"
            names.append((f"{block}_preact_bn", f"{block}.preact_bn"))
            if index == 1:
                names.append((f"{block}_0_conv", f"{block}.projection"))
            for k in (1, 2, 3):
                names.append((f"{block}_{k}_conv", f"{block}.conv{k}"))
                if k < 3:
                    names.append((f"{block}_{k}_bn", f"{block}.bn{k}"))
    return [*names, ("post_bn", "post_bn")]


def _batch_norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=_EPS, momentum=_MOMENTUM)


def _initialize(module: nn.Module) -> None:
    """Draw initial weights as Keras does: Glorot's uniform distribution, biases of 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


build = ResNet50V2
