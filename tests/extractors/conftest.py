"""Fixtures of the tests of networks: sounds, weights from a formula, numbers of the originals."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture
def sounds(request):
    """Return a function for noise, a tone, silence, clicks and a shorter clip.

    Its default length, and the sample rate, are ``SAMPLES`` and ``SR`` of the module of tests.
    """

    def make(samples=request.module.SAMPLES):
        rng = np.random.default_rng(0)
        clicks = np.zeros(samples)
        clicks[::5000] = 1
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / request.module.SR)
        noise = rng.uniform(-1, 1, samples)
        waves = [noise, tone, np.zeros(samples), clicks, 0.01 * noise[:12345]]
        return [torch.from_numpy(wave.astype(np.float32)) for wave in waves]

    return make


@pytest.fixture
def fill(shared):
    """Return the function that fills a network with weights from a formula."""
    return runpy.run_path(str(shared / "reference" / "vectors" / "fill.py"))["fill"]


@pytest.fixture
def filled(extractor, fill):
    """Return the module's extractor with these weights; filled once, as it is large."""
    if not getattr(extractor, "was_filled", False):
        fill(extractor.network)
        extractor.was_filled = True
    return extractor


@pytest.fixture
def stored(request, shared):
    """Return the original's numbers for these weights, for the network of the module of tests."""
    name = Path(request.module.__file__).stem.removeprefix("test_")
    with np.load(shared / "reference" / "vectors" / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def reference(folder):
    """Return the arrays that an original implementation made, of the module's ``folder``."""
    with np.load(folder / "reference.npz") as arrays:
        return dict(arrays)
