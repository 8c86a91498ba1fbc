"""``probekit compare`` as people use it."""

import json

import pytest


def test_two_runs(main, scored):
    done = main("compare", "good", "bad", "--task", "mine", "--reports", scored.root)
    assert (done.returncode, done.stderr) == (0, "")
    title, head, row, error, *notes = done.stdout.splitlines()
    assert title.strip() == "mine: accuracy, 72 test clips"
    assert head.split()[:4] == ["A", "B", "A's", "B's"]
    assert row.rstrip().endswith("good is better")
    assert " 0.000 " not in row  # no p-value is zero
    assert error.startswith("standard error: clips") and "within folds are drawn" in error
    assert notes == ["note: imported embeddings", "note: training data: not established"]


def test_several_runs_in_the_words_of_the_help(main, scored):
    names = ("good", "good/knn", "bad")
    done = main("compare", *names, "--task", "mine", "--reports", scored.root)
    _, head, *lines = done.stdout.splitlines()
    rows, tied = lines[:3], lines[3]
    assert tied == "tied for first: 2 of 3 (good, good / knn)"
    assert "p (Holm)" in head and "80 % power at" in head
    assert [row.split("  ")[0] for row in rows] == ["good", "good", "good / knn"]
    assert "not distinguishable" in rows[0] and "equal" not in done.stdout


def test_seeds_are_one_entry(main, scored):
    label = "good / 50 % of labels"
    done = main("compare", label, "bad", "--task", "mine", "--reports", scored.root)
    assert done.returncode == 0
    assert f"note: {label}: mean of 2 seeds" in done.stdout


def test_digits_need_no_task(main, scored):
    runs = [r["run"][:12] for r in scored.results[:2]]
    done = main("compare", *runs, "--reports", scored.root, "--json")
    (found,) = json.loads(done.stdout)
    assert {"difference", "low", "high", "p", "detectable", "adjusted", "verdict"} <= set(found)


def test_practical_equivalence(main, scored):
    options = ("--task", "mine", "--reports", scored.root, "--rope", "0.05")
    done = main("compare", "good", "good/knn", *options)
    assert "within ±0.05 with a probability of" in done.stdout


def test_another_metric(main, scored):
    options = ("--task", "mine", "--reports", scored.root, "--metric", "balanced-accuracy")
    assert "mine: balanced-accuracy" in main("compare", "good", "bad", *options).stdout


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("good",), "at least two runs"),
        (("good", "goood"), "no run 'goood' of mine; results exist for bad, good"),
        (("good", "good"), "the compared runs must differ, got twice"),
        (("good", "bad", "--metric", "roc-auc"), "--metric roc-auc needs multi targets"),
        (("good", "bad", "--metric", "acuracy"), "unknown metric 'acuracy'"),
        (("good", "bad", "--test", "component"), "unknown test 'component'"),
        (("good", "bad", "--rope", "-0.1"), "--rope must be ≥ 0 and finite, got -0.1"),
    ],
)
def test_mistakes_are_one_line(main, scored, names, words):
    done = main("compare", *names, "--task", "mine", "--reports", scored.root)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and words in done.stderr


def test_predictions_that_are_gone_are_named(main, scored):
    scored.files[0].with_suffix(".h5").unlink()
    runs = [r["run"][:12] for r in scored.results[:2]]
    done = main("compare", *runs, "--reports", scored.root)
    assert done.returncode == 2 and f"{scored.files[0].stem}.h5: not the predictions" in done.stderr
