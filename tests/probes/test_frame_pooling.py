"""Probes that learn how to pool frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from probekit.errors import ProbekitError
from probekit.probes import frame_pooling, registry
from probekit.probes.frame_pooling import Attention, FramePooling, Prototypes
from probekit.probes.mlp_segments import Segments


@pytest.fixture
def quick(monkeypatch):
    """Few settings, and few steps."""
    monkeypatch.setattr(frame_pooling, "_STEPS", (30, 100))
    monkeypatch.setattr(frame_pooling, "_GRIDS", {
        "attention": {"rate": (3e-2,), "decay": (0.01, 0.1)},
        "prototypes": {"prototypes": (1,), "rate": (3e-2,), "decay": (0.01,)},
    })  # fmt: skip


def events(make_job, target="single", clips=120, seed=0, **others):
    """Clips of 8 to 29 frames of noise, of which one frame tells the class."""
    job = make_job(target, clips=clips, dim=6, **others)
    rng = np.random.default_rng(seed)
    counts = rng.integers(8, 30, clips)
    frames = rng.normal(size=(counts.sum(), 6)).astype(np.float32)
    edges = np.concatenate([[0], np.cumsum(counts)])
    marks = np.eye(6)[:3] * 6
    for k, first in enumerate(edges[:-1]):
        own = job.targets[k] if target == "multi" else np.eye(3)[job.targets[k]]
        for j, label in enumerate(np.flatnonzero(own)):
            frames[first + (rng.integers(counts[k]) + j) % counts[k]] += marks[label]
    return replace(job, features=Segments(frames, edges))


def network_of(kind, dim=5, classes=3):
    torch.manual_seed(0)
    if kind == "prototypes":
        return Prototypes(torch.randn(classes, 2, dim))
    network = Attention(dim, classes, classes if kind == "class" else 1)
    for value in network.parameters():
        torch.nn.init.normal_(value)
    return network


@pytest.mark.parametrize("kind", ["shared", "class", "prototypes"])
def test_padding_changes_nothing(kind):
    """Alone, in company, and with whatever values behind the clip's end."""
    network = network_of(kind).eval()
    frames = torch.randn(2, 7, 5)
    own = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    together = network(frames, own)
    alone = network(frames[1:, :3], own[1:, :3])
    # sums of other lengths round differently: a few units in the last place
    torch.testing.assert_close(together[1:], alone, rtol=1e-5, atol=1e-5)
    frames[1, 3:] = 1e6
    torch.testing.assert_close(network(frames, own), together, rtol=0, atol=0)


def test_attention_without_a_query_is_the_mean():
    network = network_of("shared")
    torch.nn.init.zeros_(network.query)
    frames, own = torch.randn(1, 4, 5), torch.tensor([[True, True, True, False]])
    expected = network.classifier(frames[:, :3].mean(1))
    torch.testing.assert_close(network(frames, own), expected, rtol=1e-5, atol=1e-5)


def test_attention_pools_by_softmax():
    network = network_of("class")
    frames = torch.randn(1, 4, 5)
    weights = (frames[0] @ network.query.T).softmax(0)
    pooled = weights.T @ frames[0]  # a pooled frame for each class
    expected = (pooled * network.classifier.weight).sum(1) + network.classifier.bias
    actual = network(frames, torch.ones(1, 4, dtype=torch.bool))[0]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_prototypes_are_compared_by_cosine():
    network = network_of("prototypes")
    frames = torch.randn(1, 4, 5)
    unit = frames[0] / frames[0].norm(dim=1, keepdim=True)
    prototypes = network.prototypes / network.prototypes.norm(dim=1, keepdim=True)
    expected = network.classifier((unit @ prototypes.T).max(0).values)
    actual = network(3 * frames, torch.ones(1, 4, dtype=torch.bool))[0]  # loudness is no matter
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["attention", "attention:weights=class", "prototypes"])
@pytest.mark.parametrize("target", ["single", "multi"])
def test_a_short_event_is_found(make_job, quick, name, target):
    """The mean over frames hides it."""
    job = events(make_job, target, protocol="split")
    [model] = registry.get_probe(name).choose_all(job)
    [split] = job.splits
    scores = model.probe.scores(job.features[split.test])
    means = (
        np.add.reduceat(job.features.frames, job.features.edges[:-1]) / job.features.counts[:, None]
    )
    linear = (
        registry.get_probe("linear", grid=(0.01, 0.1, 1))
        .choose_all(replace(job, features=means))[0]
        .probe
    )
    metric = job.metric.score
    learned = metric(job.targets[split.test], scores)
    assert learned > metric(job.targets[split.test], linear.scores(means[split.test])) + 0.03
    assert learned > 0.85
    assert model.params in model.grid and len(model.curve) == len(model.grid)


def test_scores_of_a_clip_do_not_depend_on_the_others(make_job, quick, monkeypatch):
    job = events(make_job, protocol="split")
    [model] = FramePooling("prototypes").choose_all(job)
    rows = job.splits[0].test
    together = model.probe.scores(job.features[rows])
    alone = np.concatenate([model.probe.scores(job.features[rows[k : k + 1]]) for k in range(5)])
    assert np.allclose(together[:5], alone, atol=1e-6)
    monkeypatch.setattr(frame_pooling, "_BLOCK", 60)  # a clip or two at a time
    assert np.allclose(model.probe.scores(job.features[rows]), together, atol=1e-6)


def test_seeds_decide(make_job, quick):
    job = events(make_job, protocol="split", clips=60)
    rows = job.features[job.splits[0].test]
    first, again, other = (
        FramePooling("prototypes").choose_all(replace(job, seed=seed))[0].probe.scores(rows)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_test_clips_are_not_read(make_job, quick):
    job = events(make_job, protocol="split", clips=60)
    [split] = job.splits
    hidden = job.features[split.test]
    frames = job.features.frames.copy()
    frames[hidden.places] = np.nan
    blank = replace(job, features=Segments(frames, job.features.edges))
    [seen], [unseen] = (FramePooling("attention").choose_all(j) for j in (job, blank))
    assert seen.params == unseen.params
    assert np.array_equal(seen.probe.scores(hidden), unseen.probe.scores(hidden))


@pytest.mark.parametrize(
    "text, message",
    [
        ("attention:weights=all", "weights of attention"),
        ("attention:heads=2", "attention takes weights=shared or weights=class"),
        ("prototypes:count=2", "prototypes takes no parameters"),
    ],
)
def test_other_parameters_are_refused(text, message):
    with pytest.raises(ProbekitError, match=message):
        registry.get_probe(text)


def test_numbers_are_refused(make_job):
    with pytest.raises(ProbekitError, match="attention is for classes and tags"):
        FramePooling("attention").choose_all(make_job("regression"))


def test_numbers_of_steps_are_one_training(make_job, quick):
    job = events(make_job, protocol="split", clips=60)
    search = frame_pooling.PoolingSearch(FramePooling("attention"))
    rows = job.splits[0].train
    settings = {"rate": 1e-2, "decay": 0.1}
    both = search._train(job, rows, settings, [7, 20])
    [short] = search._train(job, rows, settings, [7])
    assert [fit.iterations for fit in both] == [7, 20]
    test = job.features[job.splits[0].test]
    assert np.array_equal(both[0].probe.scores(test), short.probe.scores(test))
    assert not np.array_equal(both[0].probe.scores(test), both[1].probe.scores(test))
    grid = FramePooling("attention").grid()
    fits = search._fit_pair(job, rows, grid)
    assert [fit.iterations for fit in fits] == [settings["steps"] for settings in grid]
