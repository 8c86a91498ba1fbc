"""The MLP on segments: means over segments, one step against the formula, no look at test clips."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import probekit
from probekit.errors import DataError, ProbekitError
from probekit.probes import mlp_segments
from probekit.probes.features import find_features
from probekit.probes.mlp_segments import SegmentRecipe, Segments, fit_segments
from probekit.tasks.standin.corpus import write_corpus

torch.set_num_threads(1)
QUICK = "mlp-segments:hidden=16,epochs=3"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    base = tmp_path_factory.mktemp("segments")
    write_corpus(base / "corpus", clips=20)
    for name, frames in (("mfcc", True), ("melstats", False)):
        folders = {"root": base / "corpus", "cache": base / "cache"}
        probekit.extract(name, task="synth", frames=frames, **folders)
    return base, probekit.load_task("synth").manifest(base / "corpus")


def blobs(n=60, seed=0):
    """Two classes of clips of one to four segments."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, n)
    targets = rng.integers(0, 2, n)
    frames = rng.normal(size=(counts.sum(), 5)) + 2.0 * np.repeat(targets, counts)[:, None]
    return Segments(frames.astype(np.float32), np.concatenate([[0], np.cumsum(counts)])), targets


def test_scores_are_means_over_segments():
    segments, targets = blobs()
    recipe = SegmentRecipe(hidden=64, epochs=60)
    fitted = fit_segments(
        segments.frames, segments.places, np.repeat(targets, segments.counts), 2, recipe
    )
    some = segments[np.array([7, 3, 50])]
    scores = fitted.scores(some)
    for row, clip in zip(scores, (7, 3, 50), strict=True):
        own = segments.frames[segments.edges[clip] : segments.edges[clip + 1]]
        expected = fitted.network(torch.from_numpy(own)).double().softmax(1).mean(0)
        np.testing.assert_allclose(row, expected.detach(), atol=1e-7)
    assert (fitted.scores(segments).argmax(1) == targets).mean() > 0.9
    assert segments[np.array([7, 3])].counts.tolist() == [segments.counts[7], segments.counts[3]]


def test_the_network_is_the_paper_s():
    network = mlp_segments._Network(256, 1024, 16)
    kinds = [type(layer).__name__ for layer in network]
    assert kinds == ["Dropout", "Linear", "ELU", "Dropout", "Linear"]
    assert [network[0].p, network[3].p] == [0.5, 0.5]
    assert sum(p.numel() for p in network.parameters()) == 256 * 1024 + 1024 + 1024 * 16 + 16
    bound = np.sqrt(6 / (256 + 1024))  # Glorot
    assert network[1].weight.detach().abs().max() == pytest.approx(bound, rel=1e-3)


def test_decay_is_of_weights_alone(monkeypatch):
    """Without a gradient one step of Adam moves each weight by its rate, and no bias."""
    monkeypatch.setattr(mlp_segments, "_loss", lambda logits, targets, multi: 0 * logits.sum())
    segments, targets = blobs(10)
    labels = np.repeat(targets, segments.counts)
    options = {"hidden": 4, "epochs": 1, "batch": 1000}
    before = fit_segments(
        segments.frames, segments.places, labels, 2, SegmentRecipe(**options, decay=0.0)
    )
    after = fit_segments(
        segments.frames, segments.places, labels, 2, SegmentRecipe(**options, decay=1.0)
    )
    for name, value in after.network.state_dict().items():
        old = before.network.state_dict()[name]
        expected = old - 1e-3 * old.sign() if "weight" in name else old
        np.testing.assert_allclose(value, expected, atol=1e-7)


def test_a_run_and_its_repetition(workspace):
    base, _ = workspace
    options = {"cache": base / "cache", "reports": base / "r", "probe": QUICK, "seeds": 2}
    first, second = probekit.evaluate("synth", "mfcc", **options)
    assert first["probe"] == QUICK and first["run"] != second["run"]
    [again] = probekit.evaluate("synth", "mfcc", again=True, **{**options, "seeds": 1})
    assert again["score"] == first["score"]
    assert first["folds"][0]["selected_on"] == "nothing: the recipe is fixed"


def test_test_clips_are_not_read(workspace, monkeypatch):
    """Changed test segments change no probe."""
    base, clips = workspace
    seen = []
    fit = mlp_segments.fit_segments

    def record(frames, rows, targets, *others, **options):
        seen.append(set(rows.tolist()))
        return fit(frames, rows, targets, *others, **options)

    monkeypatch.setattr(mlp_segments, "fit_segments", record)
    probekit.evaluate("synth", "mfcc", cache=base / "cache", reports=base / "r2", probe=QUICK)
    segments = mlp_segments.read_segments(find_features(base / "cache", "mfcc", "synth", clips))
    folds = clips.column("fold")
    for rows, name in zip(seen, sorted(set(folds)), strict=True):
        tested = set(segments[np.flatnonzero(folds == name)].places.tolist())
        assert not rows & tested and len(rows | tested) == len(segments.frames)


def test_the_published_code_trains_on_test_clips_and_every_score_says_so(workspace, monkeypatch):
    """On random features: a wide MLP knows the test clips by heart, and is at chance without."""
    base, _ = workspace
    noise = np.random.default_rng(1).normal(size=(20, 60)).astype(np.float32)
    monkeypatch.setattr(mlp_segments, "read_segments", lambda *_: Segments(noise, np.arange(21)))
    options = {"cache": base / "cache", "reports": base / "leak"}
    wide = "mlp-segments:hidden=256,epochs=60,rate=0.01"
    [honest] = probekit.evaluate("synth", "mfcc", probe=wide, **options)
    [leaky] = probekit.evaluate("synth", "mfcc", probe=f"{wide},clips=all", **options)
    assert leaky["score"] > 0.9 > honest["score"] + 0.5
    assert leaky["provenance"][0] == mlp_segments.TRAINED_ON_TEST_CLIPS
    assert mlp_segments.TRAINED_ON_TEST_CLIPS not in honest["provenance"]
    assert leaky["probe"].endswith("clips=all") and leaky["settings"]["clips"] == "all"
    assert "clips" not in honest["settings"]  # names of earlier runs stay
    with pytest.raises(ProbekitError, match="clips must be train or all, got 'test'"):
        mlp_segments.parse("clips=test")


def test_frames_are_those_of_the_cache(workspace):
    base, clips = workspace
    features = find_features(base / "cache", "mfcc", "synth", clips)
    segments = mlp_segments.read_segments(features)
    [(_, embeddings)] = features.members
    for k in (0, 7):
        own = segments.frames[segments.edges[k] : segments.edges[k + 1]]
        np.testing.assert_array_equal(own, embeddings.frames(features.clips.clip_ids[k]))
    joined = mlp_segments.read_segments(replace(features, members=features.members * 2))
    assert joined.shape == (20, 40)


@pytest.mark.parametrize(
    ("embedding", "probe", "error", "words"),
    [
        ("melstats", QUICK, ProbekitError, "frames"),
        ("mfcc", "mlp-segments:depth=3", ProbekitError, "'depth' must be one of hidden"),
        ("mfcc", "mlp-segments:epochs=0", ProbekitError, "epochs must be > 0"),
        ("mfcc", "mlp-segments:epochs=x", ProbekitError, "epochs must be a number, got 'x'"),
        ("mfcc+melstats", QUICK, DataError, "frames"),
    ],
)
def test_mistakes_are_one_message(workspace, embedding, probe, error, words):
    base, _ = workspace
    with pytest.raises(error, match=words):
        probekit.evaluate(
            "synth", embedding, cache=base / "cache", reports=base / "r3", probe=probe
        )
