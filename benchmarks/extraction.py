"""VGGish with random weights: probekit against torchvggish file by file, and the bare network."""

import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

import probekit
from benchmarks.timing import interleaved, table
from probekit.extraction.run import extract

CLIPS, SECONDS, RATE = 40, 10, 44100


def main() -> None:
    from torchvggish import vggish_input
    from torchvggish.torchvggish import VGG, make_layers

    network = VGG(make_layers(), postprocess=False).eval()
    ours = probekit.load_extractor("vggish", weights=["vggish=random:0"], device="cpu")
    network.load_state_dict(ours.network.state_dict())
    with tempfile.TemporaryDirectory() as place:
        audio = Path(place) / "audio"
        audio.mkdir()
        rng = np.random.default_rng(0)
        for k in range(CLIPS):
            noise = 0.1 * rng.standard_normal(SECONDS * RATE)
            soundfile.write(audio / f"{k}.wav", noise, RATE, subtype="PCM_16")
        files = sorted(audio.glob("*.wav"))
        rounds = iter(range(100))

        def package() -> None:
            with torch.no_grad():
                for file in files:
                    samples, rate = soundfile.read(file, dtype="int16")
                    network(vggish_input.waveform_to_examples(samples / 32768.0, rate))

        def probekit_extract() -> None:
            cache = Path(place) / f"cache-{next(rounds)}"
            extract("vggish", audio=audio, cache=cache, weights=["vggish=random:0"], device="cpu")

        examples = torch.randn(CLIPS * 10, 1, 96, 64)

        def bare() -> None:
            with torch.inference_mode():
                for batch in examples.split(ours.batch_pieces):
                    ours.network(batch)

        sides = {
            "torchvggish, file by file": package,
            "probekit extract": probekit_extract,
            "the network alone, in memory": bare,
        }
        seconds = interleaved(sides, rounds=3)
    fastest = seconds["torchvggish, file by file"]
    rows: list[tuple[object, ...]] = [("", "seconds", "clips a second", "against torchvggish")]
    rows += [
        (n, f"{s:.2f}", f"{CLIPS / s:.1f}", f"{fastest / s:.2f} ×") for n, s in seconds.items()
    ]
    table(
        f"VGGish, {CLIPS} wavs of {SECONDS} s at 44.1 kHz, float32, {torch.get_num_threads()} "
        "threads",
        rows,
    )
