"""VGGish with random weights: probekit against torchvggish file by file, and the bare network."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
import torch

from benchmarks.timing import interleaved, table
from probekit.extraction import audio_loader
from probekit.extraction.extract import extract
from probekit.extractors import load
from probekit.extractors.base import Extractor
from probekit.extractors.weights import source

CLIPS, SECONDS, RATE = 200, 10, 44100
FEW = 20  # clips for torchvggish, whose time is proportional to their number


def main(precisions: tuple[str, ...] = ("float32", "bf16")) -> None:
    for precision in precisions:
        against_torchvggish(precision)


def against_torchvggish(precision: str) -> None:
    """Time both sides and the network alone; each sees the same files and weights."""
    with tempfile.TemporaryDirectory() as place:
        files = noise(Path(place) / "audio", CLIPS, SECONDS)
        weights = saved_weights("vggish", Path(place))
        # in a process of its own: how probekit settles memory must not help it
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
            other.submit(torchvggish, weights[0].partition("=")[2], files[:1]).result()
            package: list[float] = []

            def run_package() -> None:
                took = other.submit(torchvggish, weights[0].partition("=")[2], files[:FEW]).result()
                package.append(took * CLIPS / FEW)

            sides = {"torchvggish": run_package, **own_sides("vggish", weights, files, precision)}
            seconds = interleaved(sides, warm=False)
        seconds["torchvggish"] = median(package)
    slowest = seconds["torchvggish"]
    rows: list[tuple[object, ...]] = [("", "seconds", "clips a second", "against torchvggish")]
    names = {"torchvggish": f"torchvggish, file by file, float32 (timed on {FEW} clips)"}
    rows += [
        (names.get(n, n), f"{s:.2f}", f"{CLIPS / s:.1f}", f"{slowest / s:.2f} ×")
        for n, s in seconds.items()
    ]
    table(
        f"VGGish, {CLIPS} wavs of {SECONDS} s at 44.1 kHz, {precision}, {torch.get_num_threads()} "
        f"threads: `probekit extract` takes {seconds['probekit extract'] / seconds['bare']:.2f} × "
        "the bare forward passes",
        rows,
    )


def own_sides(
    text: str, weights: list[str], files: list[Path], precision: str
) -> dict[str, Callable[[], object]]:
    """Return ``probekit extract`` on files, and the network on the same batches in memory."""
    spec = load.resolve_spec(text, weights=source.parse_overrides(weights), precision=precision)
    extractor = load.build_extractor(spec)
    features = batches(extractor, len(files), soundfile.info(files[0]).duration)

    def bare(some: int | None = None) -> None:
        with torch.inference_mode():
            for batch in features[:some]:
                extractor.apply_network(batch)

    def whole(some: int | None = None) -> None:
        with tempfile.TemporaryDirectory() as cache:
            extract(
                text, audio=files[0].parent, cache=cache, weights=weights, device="cpu",
                precision=precision, limit=some,
            )  # fmt: skip

    bare(2)
    whole(10)  # warm
    return {"probekit extract": whole, "bare": bare}


def batches(extractor: Extractor, clips: int, seconds: float) -> list[torch.Tensor]:
    """Return the network's input for clips of noise, in the batches that extraction makes."""
    rate = extractor.card.sample_rate
    generator = torch.Generator().manual_seed(0)
    group = ceil(audio_loader.seconds_per_batch(extractor) / seconds)  # embedded together
    found: list[torch.Tensor] = []
    with torch.inference_mode():
        for first in range(0, clips, group):
            count = min(group, clips - first)
            wave = 0.1 * torch.randn(round(seconds * rate), generator=generator)
            pieces = torch.cat([extractor.split(wave)] * count)
            split = pieces.split(extractor.max_batch_size(pieces.shape[1]))
            found += [extractor.frontend(batch) for batch in split]
    return found


def noise(folder: Path, clips: int, seconds: float) -> list[Path]:
    """Write wavs of noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"{k}.wav" for k in range(clips)]
    for file in files:
        samples = 0.1 * rng.standard_normal(round(seconds * RATE))
        soundfile.write(file, samples, RATE, subtype="PCM_16")
    return files


def saved_weights(name: str, place: Path) -> list[str]:
    """Write random weights to files, since that is what people read; return ``NAME.FILE=PATH``."""
    roles = load.resolve_spec(
        name, weights={f"{name}.{r}": "random:0" for r in ("main", "normalizer")}
    )
    extractor = load.build_extractor(roles)
    found = []
    for role in roles.sources:
        path = place / f"{role}.pth"
        part = extractor.weights_target(role)
        assert part is not None
        torch.save({key: value.contiguous() for key, value in part.state_dict().items()}, path)
        found.append(f"{name}.{role}={path}")
    return found


def torchvggish(weights: str, files: list[Path]) -> float:
    """Embed files one by one with the package, in a process of its own; return the seconds."""
    from time import perf_counter

    from torchvggish import vggish_input
    from torchvggish.torchvggish import VGG, make_layers

    network = VGG(make_layers(), postprocess=False).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    begin = perf_counter()
    with torch.no_grad():
        for file in files:
            samples, rate = soundfile.read(file, dtype="int16")
            network(vggish_input.waveform_to_examples(samples / 32768.0, rate))
    return perf_counter() - begin
