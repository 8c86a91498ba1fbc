"""Drift of an extractor: how much an embedding changes though the sound does not.

The same clips are embedded twice, alone, in company, and in two pieces. The first three must agree
within rounding; how much two pieces differ from the whole is a fact about the network: networks
with attention, recurrence or normalization over time see the whole piece.
"""

import json
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probekit.errors import ProbekitError
from probekit.extractors import load, selftest
from probekit.extractors.base import Extractor
from probekit.extractors.load import Spec
from probekit.extractors.weights.source import weights_folder
from probekit.utils.atomic import atomic_write_text

LIMIT = 1e-5
"""Largest relative change that is rounding: the contract of extractors."""
CONDITIONS = ("again", "alone", "company", "pieces")
_SECONDS, _LONGEST = 4.0, 60.0  # of the clip that is cut into pieces

Drift = dict[str, dict[str, float]]
"""Relative change by stream and condition."""


def measure_drift(extractor: Extractor) -> Drift:
    """Measure the drift of an extractor on synthetic clips.

    Parameters
    ----------
    extractor : Extractor
        With weights.

    Returns
    -------
    dict of str to dict of str to float
        For each stream, and each of :data:`CONDITIONS`: the norm of the change over the norm of
        the embedding, the largest of all clips.
    """
    clips = _make_clips(extractor)
    first = extractor(clips)
    again = extractor(clips)
    company = extractor(clips[::-1])[::-1]  # other companions, in other places of a batch
    alone = [extractor([clip])[0] for clip in clips]
    drift: Drift = {}
    for name in extractor.streams:
        reference = [outputs[name] for outputs in first]
        others = {"again": again, "alone": alone, "company": company}
        drift[name] = {
            condition: max(
                _change(outputs[name], values)
                for outputs, values in zip(results, reference, strict=True)
            )
            for condition, results in others.items()
        }
    for name, change in _measure_pieces(extractor).items():
        drift[name]["pieces"] = change
    return drift


def _make_clips(extractor: Extractor) -> list[Tensor]:
    """Return clips of several lengths, some of which are equal."""
    rate = extractor.card.sample_rate
    sweep = torch.from_numpy(selftest.make_wave(rate))
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(len(sweep), generator=generator) - 0.5
    half = len(sweep) // 2
    return [sweep, 0.1 * noise, sweep.flip(0), noise[:half], sweep[:half], noise[: half + 77]]


def _measure_pieces(extractor: Extractor) -> dict[str, float]:
    """Return how much the embeddings of two halves differ from those of the whole clip."""
    card, rate = extractor.card, extractor.card.sample_rate
    streams = extractor.streams
    windows = [float(stream.window) for stream in streams.values() if stream.window]
    seconds = min(max([_SECONDS, *(4.0 * window for window in windows)]), _LONGEST)
    if card.max_seconds is not None:
        seconds = min(seconds, card.max_seconds) if card.long_audio == "exact" else card.max_seconds
    hops = [stream.hop for stream in streams.values() if stream.hop]
    step = max(hops, default=Fraction(1, 100))
    cut = step * max(1, round(Fraction(seconds) / 2 / step))
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(round(seconds * rate)) / rate
    wave = (torch.rand(len(time), generator=generator) - 0.5) * (0.6 + 0.4 * torch.sin(5 * time))
    at = round(cut * rate)
    whole, before, after = (extractor([w])[0] for w in (wave, wave[:at], wave[at:]))
    changes = {}
    for name, stream in streams.items():
        if stream.kind == "clip":
            changes[name] = _change((before[name] + after[name]) / 2, whole[name])
            continue
        assert stream.hop is not None
        skipped = round(cut / stream.hop)
        pairs = [(before[name], whole[name]), (after[name], whole[name][skipped:])]
        counts = [min(len(a), len(b)) for a, b in pairs]
        values, expected = (
            torch.cat([pair[side][:count] for pair, count in zip(pairs, counts, strict=True)])
            for side in (0, 1)
        )
        changes[name] = _change(values, expected)
    return changes


def _change(values: Tensor, reference: Tensor) -> float:
    """Return the norm of a difference over that of the reference."""
    if values.shape != reference.shape:
        return float("inf")
    norm = float(reference.double().norm())
    difference = float((values - reference).double().norm())
    return difference / norm if norm else difference


def check_extractor(
    text: str,
    *,
    weights: dict[str, str] | None = None,
    streams: Sequence[str] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure the drift of an extractor, and save it for ``probekit extractors show``.

    Parameters
    ----------
    text : str
        The extractor, as after ``-e``.
    weights : dict of str to str, optional
        As for :func:`probekit.extractors.load.resolve_spec`.
    streams : sequence of str, optional
        The streams; all of them by default.
    device : str
        Device of the network.

    Returns
    -------
    dict
        ``extractor``, ``fingerprint``, ``drift``, ``device``, ``versions`` and ``created``.

    Raises
    ------
    ProbekitError
        If the extractor is unknown, or its weights are missing.
    """
    from probekit.parallel import resources

    overrides = weights or {}
    spec = load.resolve_spec(text, weights=overrides, streams=streams)
    if streams is None and "stream=" not in text and "layer=" not in text:
        spec = load.resolve_spec(text, weights=overrides, streams=list(spec.card.streams))
    extractor = load.build_extractor(spec, resources.resolve_device(device))
    result = {
        "extractor": spec.label,
        "fingerprint": spec.fingerprint,
        "drift": measure_drift(extractor),
        "device": str(extractor.device),
        "versions": {
            "probekit": version("probekit"),
            "torch": version("torch"),
            "machine": platform.machine(),
            **extractor.runtime(),
        },
        "provenance": spec.provenance,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = _path(spec)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(result, indent=1))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProbekitError(f"{path}: cannot be written ({reason})") from error
    return result


def load_drift(label: str) -> list[dict[str, Any]]:
    """Return what was measured of an extractor on this machine, the newest first."""
    results = []
    for path in sorted(_folder().glob(f"{_readable(label)}-*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(result, dict) and result.get("extractor") == label:
            results.append(result)
    return sorted(results, key=lambda result: str(result.get("created")), reverse=True)


def exceeds_limit(drift: Drift) -> list[str]:
    """Return the streams and conditions that change by more than rounding."""
    return [
        f"{name} {condition}"
        for name, changes in drift.items()
        for condition, change in changes.items()
        if condition != "pieces" and not change <= LIMIT
    ]


def _folder() -> Path:
    return weights_folder() / "drift"


def _path(spec: Spec) -> Path:
    return _folder() / f"{_readable(spec.label)}-{spec.fingerprint[:16]}.json"


def _readable(label: str) -> str:
    """Return a name that a file can have."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", label)
