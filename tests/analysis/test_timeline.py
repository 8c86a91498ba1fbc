"""A clip over time: steps, similarity, scores and the table."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from scipy.special import expit
from sklearn.metrics.pairwise import cosine_similarity

from probekit import extract
from probekit.analysis import timeline as module
from probekit.analysis.timeline import Timeline, average_blocks, timeline
from probekit.cache import embeddings, head
from probekit.errors import CacheError, DataError, UnknownNameError
from probekit.figures.files import save_drawing
from probekit.figures.heatmap import draw_timeline


def made(time=40, dim=6, classes=0):
    rng = np.random.default_rng(0)
    return Timeline(**{
        "frames": rng.normal(size=(time, dim)).astype(np.float32) * np.arange(1, dim + 1),
        "times": 0.25 + 0.5 * np.arange(time),
        "hop": 0.5,
        "window": 1.0,
        "scores": rng.uniform(size=(time, classes)) if classes else None,
        "classes": tuple(f"class {k}" for k in range(classes)),
        "top": 3,
        "clip_id": "a",
        "task": "mine",
        "embedding": "made",
        "stream": "seq",
        "origin": {"task": "mine"},
        "provenance": ("random weights",),
    })  # fmt: skip


def test_blocks_are_means():
    values = np.random.default_rng(1).normal(size=(11, 3))
    np.testing.assert_array_equal(average_blocks(values, 1), values)
    expected = [values[k : k + 4].mean(axis=0) for k in (0, 4, 8)]
    np.testing.assert_allclose(average_blocks(values, 4), expected, rtol=1e-14)


def test_similarity_is_the_cosine_of_deviations():
    clip = made()
    centered = clip.frames.astype(np.float64) - clip.frames.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(clip.similarity(), cosine_similarity(centered), atol=1e-12)
    same = replace(made(5), frames=np.ones((5, 6), np.float32))
    np.testing.assert_array_equal(same.similarity(), np.zeros((5, 5)))


def test_dimensions_that_vary_most_are_shown():
    clip = made()
    order = np.argsort(-clip.frames.var(axis=0))[:3]
    assert clip.shown == order.tolist()
    steps = clip.steps()
    np.testing.assert_allclose(steps.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(steps.std(axis=1), 1, rtol=1e-6)


def test_classes_with_the_highest_score_at_any_time_are_shown():
    scores = np.zeros((40, 5))
    scores[3, 4], scores[7, 1], scores[:, 2] = 0.9, 0.8, 0.5
    clip = replace(made(), scores=scores, classes=tuple("abcde"))
    assert clip.row_names == ["e", "b", "c"]
    np.testing.assert_array_equal(clip.steps(), scores[:, [4, 1, 2]].T)


def test_long_clips_are_averaged_and_the_table_is_whole(monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 8)
    clip = made(classes=4)
    assert clip.block == 5 and clip.steps().shape == (3, 8) and clip.similarity().shape == (8, 8)
    np.testing.assert_allclose(clip.edges(), np.arange(0, 21, 2.5))
    assert len(clip.rows()) == 40
    np.testing.assert_allclose([row["time"] for row in clip.rows()], clip.times)
    assert list(clip.rows()[0]) == [
        "time", "start", "end", *clip.classes, *(f"dimension {k}" for k in range(6)),
    ]  # fmt: skip
    assert clip.rows()[2]["dimension 4"] == clip.frames[2, 4]
    monkeypatch.setattr(module, "_MAX_CELLS", 10)
    assert list(clip.rows()[0]) == ["time", "start", "end", *clip.row_names]
    assert clip.facts()["table"] == "the rows of the figure"


@pytest.fixture
def cached(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    extract("mfcc", audio=corpus, frames=True, device="cpu")
    return embeddings.find_embeddings(tmp_path / "cache", "mfcc", "tiny")


def test_frames_and_times_are_those_of_the_cache(cached):
    clip = timeline("tiny", "noise/noise3", "mfcc", top=4)
    np.testing.assert_array_equal(clip.frames, cached.frames("noise/noise3"))
    # centers of librosa's frames: one every 512 samples at 22,050 Hz, the first at 0
    np.testing.assert_allclose(clip.times, np.arange(len(clip.frames)) * 512 / 22050, rtol=1e-15)
    assert (clip.scores, len(clip.shown), clip.name) == (
        None,
        4,
        "timeline-tiny-mfcc-noise-noise3-top-4",
    )
    assert clip.caption.startswith("noise/noise3 of tiny over time")


def test_scores_are_those_of_the_head(cached):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 20)) / 100, rng.normal(size=3)
    head.save_head(
        cached.folder.parent, head.SavedHead(("a", "b", "c"), weight, bias, "mfcc", "lin")
    )
    clip = timeline("tiny", "tone/tone2", "mfcc")
    expected = expit(cached.frames("tone/tone2") @ weight.T + bias)
    np.testing.assert_allclose(clip.scores, expected, rtol=1e-6)
    assert set(clip.row_names) == {"a", "b", "c"}


def test_a_figure_and_its_table(cached, tmp_path):
    clip = timeline("tiny", "noise/noise3", "mfcc")
    files = save_drawing(draw_timeline, clip, tmp_path)
    [table] = [path for path in files if path.suffix == ".csv"]
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == len(clip.frames) and len(rows[0]) == 3 + 20
    np.testing.assert_allclose(
        [[float(row[f"dimension {k}"]) for k in range(20)] for row in rows], clip.frames, rtol=1e-5
    )  # six digits are written


def test_what_has_no_time_is_refused(cached, corpus, tmp_path):
    with pytest.raises(
        UnknownNameError, match=r"unknown clip of tiny 'noise3'.*Did you mean 'noise/"
    ):
        timeline("tiny", "noise3", "mfcc")
    extract("melstats", audio=corpus, device="cpu")
    with pytest.raises(DataError, match=r"one vector a clip. melstats has no frames: list parts"):
        timeline("tiny", "noise/noise3", "melstats")
    convnet = {"weights": ("convnet=random:0",), "limit": 1, "device": "cpu"}
    extract("convnet", audio=corpus, **convnet)
    with pytest.raises(DataError, match="-e convnet:stream=frames, extracted with --streams fr"):
        timeline("tiny", "click/click0", "convnet")
    other = tmp_path / "other"
    extract("mfcc", audio=corpus, cache=other, device="cpu")
    with pytest.raises(CacheError, match=r"probekit extract -e \S+ --frames"):
        timeline("tiny", "noise/noise3", "mfcc", cache=other)
    short = tmp_path / "short"
    short.mkdir()
    soundfile.write(short / "a.wav", np.ones(200), 22050)
    extract("mfcc", audio=short, frames=True, device="cpu")
    with pytest.raises(DataError, match=r"a: one frame of 0.0929 s.*Choose a longer clip$"):
        timeline("short", "a", "mfcc")
