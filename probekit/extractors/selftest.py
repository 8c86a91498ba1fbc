"""Self-test of extractors: reference numbers for a synthetic wave and random weights.

The numbers are in ``selftest.json`` beside this file.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit import cards
from probekit.errors import ProbekitError
from probekit.extractors import load
from probekit.parallel import resources

FILE = Path(__file__).parent / "selftest.json"
SECONDS = 1.2  # of the wave


def make_wave(sr: int) -> npt.NDArray[np.float32]:
    """Return the test wave, mono, 1.2 s at ``sr`` Hz.

    A rising tone and, 14 dB below it, white noise from integers alone (SplitMix64), so that every
    band has more than rounding errors.
    """
    n = round(SECONDS * sr)
    time = np.arange(n) / sr
    tone = np.sin(2 * np.pi * (150 * time + 0.5 * 0.3 * sr / SECONDS * time**2))
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    noise = (z ^ (z >> np.uint64(31))).astype(np.float64) / 2.0**63 - 1
    return np.asarray(0.4 * tone + 0.1 * noise, dtype=np.float32)


def compute_reference(name: str, device: str = "cpu") -> dict[str, Any]:
    """Run an extractor with random weights (seed 0) on the test wave, and describe its streams.

    Parameters
    ----------
    name : str
        The extractor.
    device : str
        Device to run on.

    Returns
    -------
    dict of str to dict
        For each stream ``shape``, ``mean``, ``std`` and ``first``, the first 8 numbers.
    """
    import torch

    card = cards.load_extractor_card(name)
    seeds = {f"{name}.{key.partition('/')[0]}": "random:0" for key in card.weights}
    spec = load.resolve_spec(name, weights=seeds, streams=list(card.streams))
    extractor = load.build_extractor(spec, resources.resolve_device(device))
    reference = {}
    for stream, values in extractor([torch.from_numpy(make_wave(card.sample_rate))])[0].items():
        numbers = values.cpu().numpy().astype(np.float64)
        reference[stream] = {
            "shape": list(numbers.shape),
            "mean": float(numbers.mean()),
            "std": float(numbers.std()),
            "first": numbers.ravel()[:8].tolist(),
        }
    return reference


def compare(actual: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """Return the relative error of each stream of a reference.

    That is the largest difference among mean, standard deviation and first numbers, divided by the
    expected standard deviation; infinite if shapes differ, numbers are not finite, or a stream is
    missing or not expected.
    """
    errors = {}
    for stream in expected.keys() | actual.keys():
        a, b = actual.get(stream), expected.get(stream)
        if a is None or b is None or a["shape"] != b["shape"]:
            errors[stream] = float("inf")
            continue
        differences = [abs(a[key] - b[key]) for key in ("mean", "std")]
        differences += [abs(x - y) for x, y in zip(a["first"], b["first"], strict=True)]
        error = float(np.max(differences)) / (b["std"] or 1.0)
        errors[stream] = error if np.isfinite(error) else float("inf")
    return errors


def load_expected(path: Path | None = None) -> dict[str, Any]:
    """Return ``version`` and ``streams`` (of :func:`compute_reference`) for each extractor.

    Raises ``ProbekitError`` if the file, by default probekit's, is missing or damaged.
    """
    path = path or FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProbekitError(
            f"{path}: missing or damaged. It is a part of probekit; install probekit again"
        ) from error
    return content
