"""Where the network dominates: ``probekit extract`` beside the bare forward passes."""

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.extraction import noise, own_sides, saved_weights
from benchmarks.timing import interleaved, table

CASES = {  # clips, and seconds of each
    "openl3:input=mel256,size=512": (4, 5),
    "talnet": (150, 10),
    "cnn14": (40, 10),
    "convnet": (150, 29),
}


def main(names: tuple[str, ...] = tuple(CASES)) -> None:
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
            for precision in ("float32", "bf16"):
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
    main(tuple(sys.argv[1:]) or tuple(CASES))
