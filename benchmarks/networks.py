"""Where the network dominates: ``probekit extract`` beside the bare forward passes.

``python -m benchmarks.networks talnet float32`` does one extractor at one precision.
"""

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.extraction import noise, own_sides, saved_weights
from benchmarks.timing import interleaved, table

PRECISIONS = ("float32", "bf16")
CASES = {  # clips, and seconds of each
    "openl3:input=mel256,size=512": (2, 5),
    "talnet": (300, 10),
    "cnn14": (40, 10),
    "convnet": (150, 29),
}


def main(names: tuple[str, ...] = tuple(CASES), precisions: tuple[str, ...] = PRECISIONS) -> None:
    rows: list[tuple[object, ...]] = [
        (
            "extractor", "clips", "precision", "`probekit extract`, s", "forward passes, s",
            "ratio", "processor seconds for a second of audio",
        )
    ]  # fmt: skip
    for text in names:
        clips, seconds = CASES[text]
        with tempfile.TemporaryDirectory() as place:
            files = noise(Path(place) / "audio", clips, seconds)
            weights = saved_weights(text.partition(":")[0], Path(place))
            for precision in precisions:
                took = interleaved(own_sides(text, weights, files, precision), warm=False)
                whole, bare = took["probekit extract"], took["bare"]
                rows.append(
                    (
                        text, f"{clips} × {seconds} s", precision, f"{whole:.2f}", f"{bare:.2f}",
                        f"{whole / bare:.2f}",
                        f"{whole * torch.get_num_threads() / (clips * seconds):.4f}",
                    )
                )  # fmt: skip
    table(f"`probekit extract` and the network alone, {torch.get_num_threads()} threads", rows)


if __name__ == "__main__":
    named = [word for word in sys.argv[1:] if word not in PRECISIONS]
    wanted = [word for word in PRECISIONS if word in sys.argv]
    main(tuple(named) or tuple(CASES), tuple(wanted) or PRECISIONS)
