"""A teacher's frames against the student's, in exact time."""

from fractions import Fraction as F

import numpy as np
import pytest

from probekit.audio.timegrid import FrameGrid
from probekit.distillation.alignment import overlap_weights, rounded_grid

VGGISH = FrameGrid(F(24, 25), F(39, 80), F(39, 40))
OPENL3 = FrameGrid(F(1, 10), F(0), F(1))
CHUNK = FrameGrid(F(1, 4), F(1, 8), F(5881, 8000))
CROP = FrameGrid(F(5), F(5, 2), F(5))
AUDIO_12K = FrameGrid(F(256, 12000), F(128, 12000), F(512, 12000))
GRIDS = [VGGISH, OPENL3, CHUNK, AUDIO_12K, FrameGrid(F(1, 3), F(-1, 7), F(2))]
STARTS = [F(0), F(1, 3), F(7, 16000), F(12345, 44100), F(2999, 100), F(1, 3**30)]


def overlap(teacher, student, steps, start, count=None):
    """First frame and weights of one crop."""
    counts = None if count is None else [count]
    first, weights = overlap_weights(teacher, student, steps, [start], counts=counts)
    return int(first[0]), weights[0]


def plain(teacher, student, steps, start, count):
    """The shares of all teacher frames 0 to count - 1, from the definition, in exact fractions."""
    rows = []
    for s in range(steps):
        center = start + student.first_center + s * student.hop
        row = []
        for k in range(count):
            other = teacher.first_center + k * teacher.hop
            begin = max(center - student.hop / 2, other - teacher.hop / 2)
            end = min(center + student.hop / 2, other + teacher.hop / 2)
            row.append(max(end - begin, F(0)))
        total = sum(row)
        rows.append([float(share / total) if total else 0.0 for share in row])
    return np.array(rows)


def spread(first, weights, count):
    """Weights on all frames 0 to count - 1."""
    full = np.zeros((len(weights), count + weights.shape[1] + first))
    full[:, first : first + weights.shape[1]] = weights
    assert not full[:, count:].any()
    return full[:, :count]


@pytest.mark.parametrize("teacher", GRIDS)
@pytest.mark.parametrize(("student", "steps"), [(CHUNK, 20), (CROP, 1), (AUDIO_12K, 9)])
def test_definition(teacher, student, steps):
    count = 40
    for start in STARTS:
        expected = plain(teacher, student, steps, start, count)
        first, weights = overlap(teacher, student, steps, start, count)
        assert weights.dtype == np.float32
        # float32 rounding of weights of at most 1
        np.testing.assert_allclose(spread(first, weights, count), expected, rtol=0, atol=1e-7)


def test_several_crops_are_as_each_alone():
    counts = [40, 7, 31, 40, 29, 3]
    first, weights = overlap_weights(VGGISH, CHUNK, 20, STARTS, counts=counts)
    assert first.shape == (6,) and weights.shape[:2] == (6, 20)
    for own, full, start, count in zip(first, weights, STARTS, counts, strict=True):
        expected = plain(VGGISH, CHUNK, 20, start, count)
        np.testing.assert_allclose(spread(own, full, count), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("teacher", GRIDS)
@pytest.mark.parametrize(("student", "steps"), [(CHUNK, 20), (FrameGrid(F(1), F(1, 2), F(1)), 5)])
def test_moving_impulse(teacher, student, steps):
    """The teacher says one at one instant; the student's frame of that instant hears of it."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        start = F(int(rng.integers(0, 480_000)), 16_000)
        instant = start + F(int(rng.integers(1, 5000)), 1001)  # inside the crop, never on an edge
        hit = (instant - teacher.start) // teacher.hop
        frames = np.zeros((2000, 1), np.float32)
        frames[hit] = 1
        first, weights = overlap(teacher, student, steps, start, len(frames))
        heard = (weights @ frames[first : first + weights.shape[1]])[:, 0]
        own = (instant - start - student.start) // student.hop
        assert heard[own] > 0
        if teacher.hop >= student.hop:
            assert heard.max() <= 1
        cell = [teacher.start + (hit + k) * teacher.hop - start for k in (0, 1)]
        for s in np.flatnonzero(heard):
            begin = student.start + int(s) * student.hop
            assert begin < cell[1] and begin + student.hop > cell[0]


def test_rows_add_up_to_one_or_nothing():
    _, weights = overlap_weights(OPENL3, CHUNK, 20, STARTS[:5], counts=[100] * 5)
    sums = weights.sum(2)
    np.testing.assert_allclose(sums[:4], 1, atol=1e-6)  # float32: rounding of ten numbers
    assert not sums[4].any()  # 29.99 s into a teacher of 10 s


def test_before_the_first_frame_and_after_the_last():
    # VGGish's first cell begins at 0.0075 s; frames beyond the end do not count
    first, weights = overlap(VGGISH, FrameGrid(F(1, 200), F(1, 400), F(1, 200)), 3, 0)
    assert first == 0
    assert weights[:, 0].tolist() == [0, 1, 1]
    first, weights = overlap(VGGISH, CHUNK, 20, 0, count=2)
    assert weights.any(1).tolist() == [True] * 8 + [False] * 12  # they end at 1.9275 s
    first, weights = overlap(VGGISH, CHUNK, 2, 0, count=0)
    assert not weights.any()


def test_samples_are_exact():
    starts = np.array([1, 44_099, 1_000_003])
    exact = [F(int(start), 44_100) for start in starts]
    by_samples = overlap_weights(VGGISH, CHUNK, 20, starts, rate=44_100)
    by_seconds = overlap_weights(VGGISH, CHUNK, 20, exact)
    for samples, seconds in zip(by_samples, by_seconds, strict=True):
        assert np.array_equal(samples, seconds)


def test_seconds_as_floats():
    first, weights = overlap_weights(OPENL3, CHUNK, 4, [0.3, np.float64(2.7)])
    exact = overlap_weights(OPENL3, CHUNK, 4, [F(3, 10), F(27, 10)])
    assert np.array_equal(first, exact[0]) and np.array_equal(weights, exact[1])


def test_long_clips_do_not_drift():
    start = F(36_000) + F(1, 16_000)  # ten hours in
    first, weights = overlap(VGGISH, CHUNK, 1, start)
    k = (start - VGGISH.start) // VGGISH.hop
    shared = (VGGISH.start + (k + 1) * VGGISH.hop - start) / CHUNK.hop  # the rest is the next one's
    assert first == k and 0 < shared < 1
    np.testing.assert_allclose(weights[0, :2], [float(shared), float(1 - shared)], rtol=1e-6)


def test_nominal_grids():
    assert rounded_grid(VGGISH) == FrameGrid(F(1), F(1, 2), F(1))
    assert rounded_grid(OPENL3) == FrameGrid(F(1, 10), F(1, 20), F(1, 10))
    assert rounded_grid(FrameGrid(F(242, 48000) * 20, F(0), F(1))).hop == F(1, 10)  # 0.1008 s
    assert rounded_grid(FrameGrid(F(5), F(5, 2), F(5))).hop == 5
    assert rounded_grid(FrameGrid(F(7, 10), F(0), F(1))).hop == F(1, 2)
    assert rounded_grid(FrameGrid(F(4, 5), F(0), F(1))).hop == 1


def test_paper_repeats_vggish_ten_times():
    frames = np.random.default_rng(0).normal(size=(31, 3)).astype(np.float32)
    tenth = FrameGrid(F(1, 10), F(1, 20), F(1, 10))
    first, weights = overlap(rounded_grid(VGGISH), tenth, 300, 0, len(frames))
    np.testing.assert_array_equal(
        weights @ frames[first : first + weights.shape[1]], np.repeat(frames, 10, axis=0)[:300]
    )


def test_paper_drifts_by_four_percent():
    second = FrameGrid(F(1, 100), F(1, 200), F(1, 100))
    for start in (F(0), F(12), F(28)):
        said, by_time = (
            overlap(grid, second, 1, start + F(1, 2))[0] for grid in (rounded_grid(VGGISH), VGGISH)
        )
        assert said == start
        assert by_time == (start + F(1, 2) - VGGISH.start) // VGGISH.hop
    assert by_time - said == 1
    true = VGGISH.first_center + said * VGGISH.hop
    assert float(start + F(1, 2) - true) == pytest.approx(0.04 * 28, abs=0.02)


def test_grid_reads_what_caches_hold():
    assert FrameGrid.parse("24/25", 0.4875, "0.975") == VGGISH
    assert VGGISH.start == F(3, 400)
    with pytest.raises(ValueError, match="must be > 0 s"):
        FrameGrid.parse(0, 1, 1)
