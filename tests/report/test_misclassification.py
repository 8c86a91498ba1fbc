"""Which clips are wrong: counted again here, clip by clip, in plain Python."""

import numpy as np
import pytest

from probekit.report import leaderboard, misclassification


def of(store):
    [found] = leaderboard.build_leaderboards(store.entries())
    return misclassification.find_misclassified(found.rows)


def test_one_label_a_clip(store):
    rng = np.random.default_rng(3)
    targets, scores = rng.integers(0, 7, 200), rng.dirichlet(np.ones(7), 200)
    targets[:7] = range(7)
    store.clips("x", targets, list("abcdefg"), folds=2)
    store.run("x", "e", scores)
    [found] = of(store)
    wrong = {f"x-{k:03d}": k for k in range(200) if scores[k].argmax() != targets[k]}
    assert (found.wrong, found.total) == (len(wrong), 200)
    assert set(found.clip_ids) == set(found.wrong_ids) == set(wrong)
    assert len(found.scored_ids) == 200
    sizes = [item[-1] for item in found.items]
    assert sizes == sorted(sizes, reverse=True)  # the surest mistake first
    for clip, (true, shown, values, sure) in zip(found.clip_ids, found.items, strict=True):
        k = wrong[clip]
        assert true == [targets[k]] and targets[k] in shown
        best = sorted(range(7), key=lambda j: -scores[k, j])[:5]
        assert shown[:5] == best
        assert values == pytest.approx(scores[k][shown], abs=1e-4)
        assert sure == pytest.approx(scores[k].max(), abs=1e-4)
    pairs = [(targets[k], scores[k].argmax()) for k in wrong.values()]
    counts = sorted((pairs.count(pair) for pair in set(pairs)), reverse=True)
    assert [n for _, _, n in found.pairs] == counts[:8]
    assert all(pairs.count((a, b)) == n for a, b, n in found.pairs)


def test_several_labels_a_clip_count_as_many_as_there_are(store):
    targets = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]])
    scores = np.array(
        [
            [0.3, 0.2, 0.1, 0.0],  # right, though nothing is above one half
            [0.9, 0.8, 0.1, 0.7],  # b instead of d
            [0.9, 0.9, 0.9, 0.9],  # no label: cannot be wrong
            [0.1, 0.2, 0.3, 0.6],  # d instead of c
        ]
    )
    store.clips("x", targets, list("abcd"), target="multi")
    store.run("x", "e", scores, metric="f1-samples")
    [found] = of(store)
    assert found.clip_ids == ["x-001", "x-003"]
    assert (found.wrong, found.total) == (2, 4)
    assert found.items[0] == [[0, 3], [0, 1, 3, 2], [0.9, 0.8, 0.7, 0.1], 0.8]
    assert found.items[1] == [[2], [3, 2, 1, 0], [0.6, 0.3, 0.2, 0.1], 0.6]


def test_equal_scores_are_taken_as_the_metric_takes_them(store):
    targets = np.array([0, 1, 2, 0])
    store.clips("x", targets, list("abc"))
    result = store.run("x", "e", np.full((4, 3), 1 / 3))
    [found] = of(store)
    assert found.wrong == 4 - result["score"] * 4 == 2


def test_decision_values_become_probabilities(store):
    targets = np.array([0, 1, 0, 1])
    values = np.array([[5.0, -5.0], [5.0, -5.0], [0.0, 1.0], [-1.0, 2.0]])
    store.clips("x", targets, list("ab"))
    store.run("x", "e", values, probabilities=False)
    [found] = of(store)
    sure = {clip: item[-1] for clip, item in zip(found.clip_ids, found.items, strict=True)}
    expected = {"x-001": 1 / (1 + np.exp(-10)), "x-002": 1 / (1 + np.exp(-1))}
    assert sure == pytest.approx(expected, abs=1e-4)


def test_numbers_show_the_tenth_with_the_largest_errors(store):
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 2)) * [1, 100]  # of unlike scales
    error = np.zeros((50, 2))
    error[7] = [2, 0]
    error[9] = [0, 300]
    error[11] = [0, 10]
    store.clips("x", targets, ["valence", "arousal"], target="regression")
    store.run("x", "e", targets + error, metric="r2")
    [found] = of(store)
    assert (found.wrong, found.total) == (5, 50)
    assert found.clip_ids[:3] == ["x-009", "x-007", "x-011"]
    truth, said, size = found.items[1]
    assert truth == pytest.approx(targets[7], abs=1e-4)
    assert said == pytest.approx(targets[7] + [2, 0], abs=1e-4)
    assert size == pytest.approx(2 / targets[:, 0].std() / np.sqrt(2), abs=1e-3)


def test_many_are_cut_evenly_over_classes(store, monkeypatch):
    monkeypatch.setattr(misclassification, "MOST_CLIPS", 20)
    targets = np.array([0] * 90 + [1] * 10 + [2] * 3)
    scores = np.eye(3)[(targets + 1) % 3] * np.linspace(0.5, 0.9, 103)[:, None]
    store.clips("x", targets, list("abc"))
    store.run("x", "e", scores)
    [found] = of(store)
    assert found.wrong == 103 and len(found.clip_ids) == 20
    classes = [item[0][0] for item in found.items]
    assert {k: classes.count(k) for k in range(3)} == {0: 8, 1: 9, 2: 3}
    assert min(found.clip_ids) == "x-082"  # of the first class the eight surest
    assert found.pairs[0] == [0, 1, 90]  # of all, not of those kept


def test_nothing_wrong(store):
    targets = np.arange(6) % 2
    store.clips("x", targets, list("ab"))
    store.run("x", "e", np.eye(2)[targets])
    [found] = of(store)
    assert (found.wrong, found.total, found.items, found.pairs) == (0, 6, [], [])


def test_missing_predictions_are_said(small):
    for path in (small.reports / "results").rglob("good*.h5"):
        path.unlink()
    problems = {one.label: one.problem for one in of(small)}
    assert "not the predictions of a result" in problems["good"]
    assert problems["poor"] == ""
