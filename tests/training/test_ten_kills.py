"""A training with two streams, killed ten times at random moments, ends with the same weights."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow


def start(corpus, folder, table):
    words = [
        "train", "--task", table, "--root", corpus, "--network", "short-chunk:width=2",
        "--objective", "contrastive", "--unlabeled", "train", "--recipe", "lee2021", "--batch", "4",
        "--epochs", "40", "--folds", "1", "--device", "cpu", "--cache", folder / "cache",
        "--reports", folder / "out",
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "probekit", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def count_epochs(folder):
    logs = list((folder / "out" / "students").glob("*/log.csv"))
    return len(logs[0].read_text().splitlines()) - 1 if logs else 0


def weights(folder):
    (path,) = (folder / "out" / "students").glob("*/weights.pt")
    return torch.load(path, weights_only=True)


def test_ten_kills_at_random_moments(corpus, tmp_path):
    files = sorted(path.relative_to(corpus) for path in corpus.rglob("*.*"))
    lines = ["clip_id,path,label,fold"]
    lines += [f"{p.stem},{p},{p.parent},{k % 2 + 1}" for k, p in enumerate(files)]
    table = tmp_path / "folds.csv"
    table.write_text("\n".join(lines) + "\n")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(corpus, whole, table))
    rng, reached = np.random.default_rng(0), [0]
    for _ in range(10):
        process = start(corpus, killed, table)
        while process.poll() is None and count_epochs(killed) <= reached[-1]:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))  # within an epoch, its scoring, or the writing of its files
        assert process.poll() is None, "the training ended before its kills"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(count_epochs(killed))
    assert reached == sorted(reached) and reached[-1] < 40
    finish(start(corpus, killed, table))
    expected, resumed = weights(whole), weights(killed)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())
