"""What extractors give for a short computed wave with random weights: numbers to compare with.

They are kept in ``selftest.json`` beside this file; :func:`probekit.doctor.make_reference` makes
them.
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


def make_wave(rate: int) -> npt.NDArray[np.float32]:
    """Return the wave that extractors are tried on.

    A rising tone and, 14 dB below it, white noise from integers alone (SplitMix64), so that every
    band holds more than rounding.

    Parameters
    ----------
    rate : int > 0
        Sample rate in Hz.

    Returns
    -------
    numpy.ndarray, shape (1.2 * rate,), float32
        Mono.
    """
    n = round(SECONDS * rate)
    time = np.arange(n) / rate
    tone = np.sin(2 * np.pi * (150 * time + 0.5 * 0.3 * rate / SECONDS * time**2))
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    noise = (z ^ (z >> np.uint64(31))).astype(np.float64) / 2.0**63 - 1
    return np.asarray(0.4 * tone + 0.1 * noise, dtype=np.float32)


def compute_reference(name: str, device: str = "cpu") -> dict[str, Any]:
    """Run an extractor with random weights (seed 0) on :func:`wave`, and describe what it gives.

    Parameters
    ----------
    name : str
        The extractor.
    device : str
        Where it runs.

    Returns
    -------
    dict of str to dict
        For each stream ``shape``, ``mean``, ``std`` and ``first``, the first 8 numbers.
    """
    import torch

    card = cards.load_extractor_card(name)
    seeds = {f"{name}.{key.partition('/')[0]}": "random:0" for key in card.weights}
    spec = load.resolve_spec(name, weights=seeds, streams=list(card.streams))
    extractor = load.build(spec, resources.resolve_device(device))
    found = {}
    for stream, values in extractor([torch.from_numpy(make_wave(card.sample_rate))])[0].items():
        numbers = values.cpu().numpy().astype(np.float64)
        found[stream] = {
            "shape": list(numbers.shape),
            "mean": float(numbers.mean()),
            "std": float(numbers.std()),
            "first": numbers.ravel()[:8].tolist(),
        }
    return found


def compare(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """Return how far streams are from what they should be.

    Parameters
    ----------
    found, expected : dict
        From :func:`compute_reference`.

    Returns
    -------
    dict of str to float
        For each stream the largest difference among mean, standard deviation and first numbers,
        divided by the expected standard deviation; infinite where shapes differ, numbers are not
        finite, or a stream is missing or not expected.
    """
    faults = {}
    for stream in expected.keys() | found.keys():
        a, b = found.get(stream), expected.get(stream)
        if a is None or b is None or a["shape"] != b["shape"]:
            faults[stream] = float("inf")
            continue
        differences = [abs(a[key] - b[key]) for key in ("mean", "std")]
        differences += [abs(x - y) for x, y in zip(a["first"], b["first"], strict=True)]
        error = float(np.max(differences)) / (b["std"] or 1.0)
        faults[stream] = error if np.isfinite(error) else float("inf")
    return faults


def load_expected(path: Path | None = None) -> dict[str, Any]:
    """Return what extractors should give, by name.

    Parameters
    ----------
    path : pathlib.Path, optional
        The file; the one that comes with probekit if not given.

    Returns
    -------
    dict of str to dict
        For each extractor ``version`` and ``streams``, as :func:`compute_reference` gives them.

    Raises
    ------
    ProbekitError
        If the file is missing or damaged.
    """
    path = path or FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProbekitError(
            f"{path}: missing or damaged. It belongs to probekit; install probekit again"
        ) from error
    return content
