"""Rows and their tests: the same that probekit compare gives, and kept for the next page."""

import json
from dataclasses import replace

import numpy as np
import pytest

from probekit.report import leaderboard
from probekit.report.html.axis import nice_axis
from probekit.scores import comparison, groups
from probekit.scores import store as store_module


@pytest.fixture
def guess(small):
    from numpy.random import default_rng

    def make(name, right, task="birds", **others):
        """A run with so many of the forty clips right, the first ones wrong."""
        rng = default_rng(right)
        given = np.arange(40) % 4
        given[: 40 - right] = (given[: 40 - right] + 1) % 4
        scores = np.eye(4)[given] + rng.uniform(0, 0.1, (40, 4))
        return small.run(task, name, scores, **others)

    return make


def test_marks_are_those_of_the_paired_tests(small, guess):
    guess("near", 29)
    guess("bad", 0)
    [found] = leaderboard.build_leaderboards(small.entries())
    assert [row.label for row in found.rows] == ["good", "near", "poor", "bad"]
    best, tests = comparison.compare_with_best(small.entries())
    assert best.label == "good"
    expected = {
        one.second: leaderboard.NOT_DISTINGUISHABLE
        if one.verdict == "not distinguishable"
        else leaderboard.WORSE
        for one in tests
    }
    assert {row.label: row.mark for row in found.rows} == {"good": leaderboard.BEST, **expected}
    assert set(expected.values()) == {
        leaderboard.NOT_DISTINGUISHABLE,
        leaderboard.WORSE,
    }  # both kinds are there
    for row, one in zip(found.rows[1:], tests, strict=True):
        assert (
            f"{one.difference:+.3f}" in row.explanation
            and f"p = {one.adjusted:.3f}" in row.explanation
        )


def test_tests_are_kept_and_used_again(small, monkeypatch):
    before = leaderboard.build_leaderboards(small.entries())
    (path,) = (small.reports / "comparisons").iterdir()
    assert len(json.loads(path.read_text())) == 1

    def never(*_):
        raise AssertionError("tested again")

    monkeypatch.setattr(comparison, "compare_all", never)
    assert leaderboard.build_leaderboards(small.entries()) == before


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"q": 0}}', "\x00"])
def test_damaged_file_of_tests_is_made_anew(small, content):
    before = leaderboard.build_leaderboards(small.entries())
    (path,) = (small.reports / "comparisons").iterdir()
    path.write_text(content)
    assert leaderboard.build_leaderboards(small.entries()) == before
    assert len(json.loads(path.read_text())) == 1


def test_run_that_is_made_again_is_tested_again(small):
    leaderboard.build_leaderboards(small.entries())
    path, result = store_module.list_results(small.reports)[0]
    path.write_text(json.dumps({**result, "created": "2027-01-01T00:00:00+00:00"}))
    leaderboard.build_leaderboards(small.entries())
    (path,) = (small.reports / "comparisons").iterdir()
    assert len(json.loads(path.read_text())) == 2


def test_run_with_other_classes_is_shown_and_says_why_it_is_not_tested(small):
    small.clips("birds", np.arange(40) % 3, ["finch", "crow", "owl"], folds=2)
    small.run("birds", "old", np.eye(3)[np.arange(40) % 3] * 0.5, note="old")
    stored = groups.group_runs(store_module.list_results(small.reports, "birds"))
    [found] = leaderboard.build_leaderboards(stored)
    with pytest.warns(UserWarning, match="2 stale runs of birds left out"):
        assert [group.label for group in groups.load_groups("birds", small.reports)] == ["old"]
    marks = {row.label: row.mark for row in found.rows}
    # it is right everywhere, so it leads, and none of the others can be tested against it
    assert marks == {
        "old": leaderboard.BEST,
        "good": leaderboard.UNTESTED,
        "poor": leaderboard.UNTESTED,
    }
    assert "scored on different classes" in found.rows[1].explanation


def test_smaller_shares_of_the_labels_are_curves_not_rows(small, guess):
    guess("good", 12, fraction=0.1)
    guess("good", 20, fraction=0.5)
    guess("few", 25, fraction=0.3)
    [found] = leaderboard.build_leaderboards(small.entries())
    assert sorted(row.label for row in found.rows) == ["few / 30 % of labels", "good", "poor"]
    [curve] = found.efficiency_curves
    assert [row.first_run["fraction"] for row in curve] == [0.1, 0.5, 1.0]


def test_seeds_are_one_row_with_means(small, guess):
    runs = [guess("several", right, seed=k) for k, right in enumerate((16, 24))]
    [found] = leaderboard.build_leaderboards(small.entries())
    row = next(row for row in found.rows if row.label == "several")
    assert row.score == pytest.approx(np.mean([r["score"] for r in runs]))
    assert row.low == pytest.approx(np.mean([r["interval"]["low"] for r in runs]))


def test_lower_is_better_where_the_metric_says_so(store):
    targets = np.linspace(0, 1, 30)[:, None]
    store.clips("mood", targets, ["valence"], target="regression")
    store.run("mood", "far", targets + 0.3, metric="mae")
    store.run("mood", "near", targets + 0.1, metric="mae")
    [found] = leaderboard.build_leaderboards(store.entries())
    assert [row.label for row in found.rows] == ["near", "far"]
    assert not found.higher_is_better and found.rows[0].mark == leaderboard.BEST
    assert found.rows[1].mark == leaderboard.WORSE


def test_runs_of_two_metrics_are_two_boards(small, guess):
    guess("new", 20, metric="balanced-accuracy")
    assert [b.metric_name for b in leaderboard.build_leaderboards(small.entries())] == [
        "accuracy",
        "balanced-accuracy",
    ]


def test_published_scores_are_there_once_and_of_this_metric_only(small, guess):
    one = {"method": "theirs", "score": 0.7, "where": "Table 2", "metric": "", "differs": ""}
    other = {**one, "method": "others'", "metric": "roc-auc"}
    guess("a", 20, published=[one, other])
    guess("b", 21, published=[one])
    [found] = leaderboard.build_leaderboards(small.entries())
    assert list(found.published) == [one]


def test_test_that_fails_is_said_for_that_run_only(small):
    entries = small.entries()
    best = next(e for e in entries if e.label == "good")
    poor = next(e for e in entries if e.label == "poor")
    lone = replace(poor, label="gone", paths=(small.reports / "x.json",))
    tested = comparison.cached_comparisons([best, lone, poor])
    (failure,) = [one for one in tested if isinstance(one, str)]
    assert "not the predictions of a result" in failure
    (other,) = [one for one in tested if not isinstance(one, str)]
    assert other.second == "poor"
    assert other.adjusted == pytest.approx(min(1, 3 * other.p))  # the third pair is untested


# ---- the scale of the drawings


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.31, 0.79], ["0.4", "0.6", "0.8"]),
        ([0.5, 0.5], ["0.45", "0.50", "0.55"]),
        ([], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.0, 1.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([12.0, 31.0], ["15", "20", "25", "30"]),
        ([float("nan"), 0.5, 0.62], ["0.50", "0.55", "0.60"]),
    ],
)
def test_ticks_are_round_and_inside(values, ticks):
    axis = nice_axis(values)
    assert [axis.format_tick(tick) for tick in axis.ticks] == ticks
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)


def test_score_far_below_zero_does_not_stretch_the_scale():
    axis = nice_axis([-80.0, 0.5, 0.6])
    assert axis.low > -1
    assert axis.position(-80.0) == 0 and 0.8 < axis.position(0.6) < 1
