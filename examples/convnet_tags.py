"""Print the tags that ``convnet`` gives to recordings.

The network of "Transfer learning for music classification" (Choi et al., ISMIR 2017) was trained to
give 50 tags to songs of the Million Song Dataset::

    python examples/convnet_tags.py song.mp3 --weights model_best.hdf5

Without ``--weights`` the published file is downloaded (1.5 MB).

What to make of them: each of the 50 numbers answers yes or no for one tag, so they do not add up to
one. The network was trained on music: speech and single sounds are far from its training data, and
their tags say no more than which music they are least unlike. It hears the first 29 s; silence is
put after a shorter recording, and the network hears that too. Which output belongs to which tag is
not stated upstream: the order used here is that of another project with the same 50 tags, plausible
since it fits what the network says of music, and no more than that.
"""

import argparse
from pathlib import Path

import torch

import probekit
from probekit.audio import recording
from probekit.errors import ProbekitError


def tags(extractor: torch.nn.Module, path: Path) -> list[tuple[str, float]]:
    """Return the network's tags for a recording with their probabilities, the highest first."""
    head = extractor.head()
    wave = recording.load(path, extractor.card.sample_rate).wave
    features = extractor([torch.from_numpy(wave)])[0][head.stream]
    probabilities = torch.sigmoid(head.weight.cpu() @ features.cpu() + head.bias.cpu())
    ranked = probabilities.argsort(descending=True).tolist()
    return [(head.classes[i], float(probabilities[i])) for i in ranked]


def main() -> None:
    """Read the command line and print a line for each recording."""
    parser = argparse.ArgumentParser(description="Print the tags that convnet gives to recordings.")
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING")
    parser.add_argument("--weights", type=Path, help="model_best.hdf5; downloaded if not given")
    parser.add_argument("--top", type=int, default=5, help="how many tags (5)")
    chosen = parser.parse_args()
    weights = [f"convnet={chosen.weights}"] if chosen.weights else []
    extractor = probekit.load_extractor("convnet", weights=weights, streams=["max5"])
    for path in chosen.recordings:
        found = tags(extractor, path)[: chosen.top]
        line = ", ".join(f"{name} {value:.2f}" for name, value in found)
        print(f"{path.name}: {line}")  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except ProbekitError as error:
        raise SystemExit(f"error: {error}") from None
