"""Clips are decoded ahead of the network, and batches hold seconds of audio, not clips."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.extraction import audio_loader
from probekit.extraction.audio_loader import DecodedClip, batch_by_duration, prefetch_decoded
from probekit.extraction.plan import Clip


def extractor(device="cpu", batch_seconds=60.0):
    card = cards.load_extractor_card("melstats")
    return SimpleNamespace(card=card, device=torch.device(device), batch_seconds=batch_seconds)


EXTRACTOR = extractor()


def clip(number):
    return Clip(str(number), Path("a.wav"), np.nan, np.nan)


@pytest.fixture
def started(monkeypatch):
    """What was decoded so far; clips are named after their seconds."""
    done = []

    def decode(clip, card, *, pin, allow_truncated):
        done.append(clip)
        samples = torch.zeros(1).expand(
            round(float(clip.clip_id) * 8000)
        )  # of any length, no memory
        return DecodedClip(clip, {"duration": float(clip.clip_id)}, samples, 8000)

    monkeypatch.setattr(audio_loader, "decode_clip", decode)
    monkeypatch.setattr(audio_loader.resources, "cpu_count", lambda: 3)
    return done


@pytest.mark.parametrize(("seconds", "most"), [(1, 63), (20, 12), (100, 6), (150, 4), (5000, 1)])
def test_the_longer_the_clips_the_fewer_wait(started, seconds, most):
    held = []
    clips = [clip(seconds) for _ in range(40)]
    for number, source in enumerate(prefetch_decoded(clips, EXTRACTOR), start=1):
        assert source.clip is clips[number - 1]
        held.append(len(started) - number)
    assert number == len(started) == 40
    # threads may not have begun with what they were given, but never do more than that
    assert max(held[3:]) <= most


def test_batches_are_of_seconds():
    durations = [0.5] * 300 + [200, 70, 1, 1] + [0] * 1000
    sources = [DecodedClip(clip(d), {"duration": d}) for d in durations]
    durations_of_batches = [
        [s.facts["duration"] for s in batch] for batch in batch_by_duration(sources, EXTRACTOR)
    ]
    assert [seconds for batch in durations_of_batches for seconds in batch] == durations
    *full, last = [len(batch) for batch in durations_of_batches]
    assert full == [120, 120, 61, 1, 582]  # failures, of 0 s, count as 0.1 s
    assert last == len(durations) - sum(full)


@pytest.mark.parametrize(
    ("device", "batch_seconds", "expected"),
    [
        ("cuda", 60, [48, 48, 4]),
        ("cpu", 20, [6] * 16 + [4]),
        ("cpu", 160, [16] * 6 + [4]),
        ("cuda", 120, [96, 4]),
    ],
)
def test_a_gpu_gets_more_at_once_and_a_network_what_it_asks_for(device, batch_seconds, expected):
    sources = [DecodedClip(clip(10), {"duration": 10.0}) for _ in range(100)]
    batches = batch_by_duration(sources, extractor(device, batch_seconds))
    assert [len(batch) for batch in batches] == expected
