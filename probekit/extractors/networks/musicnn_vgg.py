"""The VGG-like tagging network of musicnn (Pons and Serra, 2019)."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors.base import Head, Outputs
from probekit.extractors.networks.musicnn import PatchExtractor, rename

WIDTH = 128
BLOCKS = 5
# sizes and strides of the poolings: time, bands
POOLS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))


class Network(nn.Module):
    """Five convolutions of 128 channels and a dense layer; 605,748 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, eps=1e-3)
        for i in range(1, BLOCKS + 1):
            self.add_module(f"conv{i}", nn.Conv2d(1 if i == 1 else WIDTH, WIDTH, 3, padding=1))
            self.add_module(f"conv{i}_norm", nn.BatchNorm2d(WIDTH, eps=1e-3))
        self.tags = nn.Linear(2 * WIDTH, 50)

    def forward(self, patches: Tensor) -> list[Tensor]:
        """Run the blocks on log-mel spectra, shape (patches, 1, 187, 96).

        Returns each block's pooled maps, shape (patches, 128, time, bands); the last ones have two
        steps and one band.
        """
        x = self.input_norm(patches)
        maps = []
        for i, (size, stride) in enumerate(POOLS, start=1):
            x = self.get_submodule(f"conv{i}")(x).relu_()
            x = self.get_submodule(f"conv{i}_norm")(x)
            x = nn.functional.max_pool2d(x, size, stride)
            maps.append(x)
        return maps


class MusicnnVGG(PatchExtractor):
    """The network on patches of 3 s."""

    network: Network
    last = "tags.bias"

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        maps = self.network(features)
        outputs = {f"pool{i}": x.mean((2, 3)) for i, x in enumerate(maps[:-1], start=1)}
        outputs["pool5"] = maps[-1].permute(0, 2, 3, 1).flatten(1)
        if "taggram" in self.stream_names:
            outputs["taggram"] = self.network.tags(outputs["pool5"]).sigmoid()
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer of 50 tags."""
        last, tags = self.network.tags, self.source_classes()
        return Head(tags, last.weight.detach(), last.bias.detach(), "pool5", "mean")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint, or an npz file of its variables, as a state dict of :class:`Network`."""
    names = {"batch_normalization": "input_norm", "dense": "tags"}
    for i in range(1, BLOCKS + 1):
        names |= {f"{i}CNN": f"conv{i}", f"batch_normalization_{i}": f"conv{i}_norm"}
    return rename(path, names)


build = MusicnnVGG
