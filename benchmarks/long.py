"""Peak memory of one long recording: ``python -m benchmarks long``.

VGGish's own decoding, resampling, windows, front-end and pooling. Its convolutions, which see 32
windows at a time however long a recording is, are done for the shorter recordings; for
ten hours two rows of each spectrogram stand in for them: ``measure(10, "whole")`` does it all.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import soundfile

from benchmarks.timing import table

RATE = 44100
HOURS = ((0.1, "whole"), (1.0, "whole"), (10.0, "stand-in"))


def main() -> None:
    rows: list[tuple[object, ...]] = [("hours", "network", "windows", "peak RSS", "seconds")]
    for hours, network in HOURS:
        found = measure(hours, network)
        rows.append(
            (f"{hours:g}", network, found["windows"], f"{found['rss'] / 1e9:.2f} GB",
             f"{found['seconds']:.0f}")
        )  # fmt: skip
    table("One long recording, flac, 44.1 kHz mono, vggish", rows)


def measure(hours: float, network: str) -> dict[str, float]:
    """Embed a recording of that many hours in a process of its own; bytes and seconds it took."""
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "audio" / "long.flac", hours)
        command = [sys.executable, "-m", "benchmarks.long", place, network]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def write(path: Path, hours: float) -> None:
    """Write a recording of few bits a sample, minute by minute: ten hours take some 500 MB."""
    path.parent.mkdir()
    steps = np.random.default_rng(0).integers(-3, 4, RATE * 60)
    minute = (np.cumsum(steps) % 64 * 32).astype(np.int16)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(hours * 60)):
            file.write(minute)


def embed(place: Path, network: str) -> None:
    """Embed what is in ``place``, and print what it took."""
    import torch

    from probekit import extract
    from probekit.extraction import long_audio
    from probekit.extractors.networks.vggish import VGGish

    windows = 0
    run = VGGish.run

    def counted(self: VGGish, pieces: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal windows
        windows += len(pieces)
        return run(self, pieces)

    def two_rows(self: VGGish, features: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: features[:, 0, :2].flatten(1) for name in self.stream_names}

    VGGish.run = counted  # type: ignore[method-assign]
    if network == "stand-in":
        VGGish.embed = two_rows  # type: ignore[method-assign]
    begin = perf_counter()
    [summary] = extract(
        "vggish", audio=place / "audio", cache=place / "cache", weights=["vggish=random:0"]
    )
    assert summary.done == 1, summary.failed
    assert summary.audio_seconds > long_audio.LONGEST
    seconds = perf_counter() - begin
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"windows": windows, "rss": rss, "seconds": seconds}))


if __name__ == "__main__":
    embed(Path(sys.argv[1]), sys.argv[2])
