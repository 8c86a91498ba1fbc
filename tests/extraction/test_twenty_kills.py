"""Twenty kills at moments that nobody chose."""

import logging
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from probekit import extract
from probekit.cache import embeddings, layout

# takes 60 ms for each clip of the test, which are those with an offset, and says when it begins
SLOW = """
import os, time
from pathlib import Path
import torch

class Model(torch.nn.Module):
    sample_rate = 16000
    scene_embedding_size = 2
    timestamp_embedding_size = 2

def load_model(model_file_path=""):
    return Model()

def get_scene_embeddings(audio, model):
    ours = int((audio.mean(1) > 0.05).sum())
    if ours and "BEGUN" in os.environ:
        Path(os.environ["BEGUN"]).touch()
        time.sleep(0.06 * ours)
    return torch.stack([audio.mean(1), audio.abs().amax(1)], 1)

def get_timestamp_embeddings(audio, model):
    frames = audio[:, : audio.shape[1] // 160 * 160].unfold(1, 160, 160)
    times = (torch.arange(frames.shape[1]) * 10.0).expand(len(audio), -1)
    return torch.stack([frames.mean(2), frames.abs().amax(2)], 2), times
"""
KILLS = 20


@pytest.fixture
def slow(tmp_path, monkeypatch):
    (tmp_path / "slow_hear.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    return "hear:slow_hear"


def finished(cache):
    return len(list(cache.glob("hear-*/clips/part-*.h5")))


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path, slow, monkeypatch, content, main):
    monkeypatch.setattr(layout, "_MIN_PART_CLIPS", 10)
    monkeypatch.setattr(layout, "_MAX_PART_CLIPS", 10)
    audio, cache, begun = tmp_path / "clips", tmp_path / "cache", tmp_path / "begun"
    audio.mkdir()
    rng = np.random.default_rng(1)
    for k in range(300):
        soundfile.write(audio / f"{k:03}.wav", 0.1 + rng.uniform(-0.5, 0.5, 4000), 16000)
    extract(slow, audio=audio, cache=tmp_path / "whole")
    expected = content(tmp_path / "whole", "hear", "clips")
    assert len(expected.rows) == 300
    extract(slow, audio=audio, cache=cache, limit=1)  # settles that there are 30 parts

    seed = int(os.environ.get("PROBEKIT_SEED", time.time_ns() % 10**6))
    chance = random.Random(seed)
    log = logging.getLogger("kills")
    log.warning("PROBEKIT_SEED=%d", seed)
    held = [1]
    for number in range(KILLS):
        jobs = ["--jobs", "2"] if number % 2 else []
        begun.unlink(missing_ok=True)
        command = ["extract", "-e", slow, "--audio", str(audio), "--cache", str(cache), *jobs]
        process = subprocess.Popen(
            [sys.executable, "-m", "probekit", *command],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "BEGUN": str(begun)},
            start_new_session=True,
        )
        before, more = finished(cache), chance.randint(0, 1)
        while process.poll() is None:
            if begun.exists() and finished(cache) >= before + more:
                break
            time.sleep(0.005)
        moment = chance.uniform(0, 0.4)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)  # its workers, too: as a cluster ends a job
        assert process.wait() == -signal.SIGKILL
        held.append(len(embeddings.find_embeddings(cache, "hear", "clips").clip_ids))
        where = "two workers" if jobs else "one process"
        when = f"{moment:.3f} s after {'a part' if more else 'the begin'}"
        log.warning("%d: %s, %s: %d clips", number, where, when, held[-1])
    assert held == sorted(held)
    assert 1 < held[-1] < 300

    [summary] = extract(slow, audio=audio, cache=cache, jobs=2)
    assert (summary.done, summary.cached, summary.failed) == (300 - held[-1], held[-1], {})
    assert content(cache, "hear", "clips") == expected
    assert main("cache", "verify", "--cache", cache).returncode == 0
