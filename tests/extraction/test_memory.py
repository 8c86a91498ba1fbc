"""Extraction needs no more memory for more clips, and copes where there is too little."""

import os
import sys

import numpy as np
import pytest
import soundfile
import torch

from probekit.extraction.extract import extract
from probekit.extractors.networks.melstats import MelStats

PEAKS = """
import resource, sys
from probekit.extraction.extract import extract
for size in ("few", "many"):
    [summary] = extract("melstats", audio=f"{sys.argv[1]}/{size}", cache=f"{sys.argv[1]}/cache")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(summary.done, peak)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts something else elsewhere")
def test_peak_memory_does_not_depend_on_the_number_of_clips(tmp_path, cli):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * 22050)
    soundfile.write(tmp_path / "one.wav", wave, 22050)
    for size, count in (("few", 40), ("many", 220)):
        (tmp_path / size).mkdir()
        for number in range(count):
            os.link(tmp_path / "one.wav", tmp_path / size / f"{number}.wav")
    code = PEAKS.replace("sys.argv[1]", repr(str(tmp_path)))
    done = cli(code=code)
    assert done.returncode == 0, done.stderr
    (few, before), (many, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == (40, 220)
    decoded = 180 * 10 * 22050 * 4 / 1024  # kB that the further clips take, were they all kept
    assert decoded > 150_000
    assert after - before < 50_000


@pytest.fixture
def folder(tmp_path):
    """Six clips, five of 1 s and one of 4 s."""
    (tmp_path / "audio").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        wave = rng.uniform(-0.5, 0.5, 8000 * (4 if number == 5 else 1))
        soundfile.write(tmp_path / "audio" / f"{number}.wav", wave, 8000)
    return tmp_path / "audio"


@pytest.fixture
def at_most(monkeypatch):
    """Let the network's memory suffice for so many seconds at once."""
    whole = MelStats.frontend
    sizes = []

    def limit(seconds):
        def frontend(self, pieces):
            sizes.append(tuple(pieces.shape))
            if pieces.numel() > 22050 * seconds:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return whole(self, pieces)

        monkeypatch.setattr(MelStats, "frontend", frontend)
        return sizes

    return limit


def test_less_at_once_where_memory_does_not_suffice(folder, at_most, tmp_path, content):
    extract("melstats", audio=folder, cache=tmp_path / "whole")
    sizes = at_most(4)
    [summary] = extract("melstats", audio=folder, cache=tmp_path / "halved")
    assert (summary.done, summary.failed) == (6, {})
    assert max(pieces for pieces, _ in sizes) == 5
    assert content(tmp_path / "halved", "melstats", "audio") == content(
        tmp_path / "whole", "melstats", "audio"
    )


def test_a_clip_for_which_memory_never_suffices_fails_alone(folder, at_most, tmp_path):
    at_most(3)
    [summary] = extract("melstats", audio=folder, cache=tmp_path / "cache")
    assert summary.done == 5
    assert summary.failed == {"5": "melstats failed (out of memory on cpu with a single piece)"}


def test_every_clip_may_be_too_large(folder, at_most, tmp_path):
    at_most(0.5)
    [summary] = extract("melstats", audio=folder, cache=tmp_path / "cache")
    assert (summary.done, len(summary.failed)) == (0, 6)
