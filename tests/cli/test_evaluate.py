"""``probekit evaluate`` as people use it."""

import json

import numpy as np
import pytest

from probekit.probes.probe_run import ProbeRun

TREE = "sklearn.tree:DecisionTreeClassifier:max_depth=1|5"


@pytest.fixture
def evaluate(main, made, tmp_path):
    def run(*arguments, task=made / "mine.yaml"):
        folders = ("--cache", made / "cache", "--root", made, "--reports", tmp_path / "reports")
        return main("evaluate", "--task", task, *folders, *arguments)

    return run


def test_scores_stand_beside_published_ones(evaluate):
    done = evaluate("-e", "good", "-e", "bad")
    assert done.returncode == 0
    title, protocol, head, good, bad, _, ours, theirs = done.stdout.splitlines()
    assert title.strip() == "mine: Sounds of mine" and protocol.strip() == "three folds of mine"
    for word in ("embedding", "accuracy", "95 % interval", "sd over folds", "balanced-accuracy"):
        assert word in head
    assert "probe" not in head and "labels" not in head  # nothing unusual
    assert good.split()[0] == "good" and bad.split()[0] == "bad"
    assert float(good.split()[1]) > 0.75 > float(bad.split()[1])
    assert "72 of 72" in good and "imported embeddings" in good
    # what differs, and metrics that cannot be told are shown, too
    assert "[red]SVM[/red]" in ours and "0.900" in ours and ours.rstrip().endswith("other folds")
    assert "f1 (kind not stated)" in theirs and theirs.rstrip().endswith("–")


def test_unknown_device_is_an_error_even_if_the_run_is_stored(evaluate):
    assert evaluate("-e", "good", "--device", "auto").returncode == 0
    done = evaluate("-e", "good", "--device", "tpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --device must be auto, cpu or a torch device")


def test_what_is_unusual_has_a_column(evaluate):
    done = evaluate("-e", "good", "--probe", TREE, "--fraction", "0.5,1", "--seeds", "2")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "probe" in lines[2] and "labels" in lines[2]
    runs = ["50 %, seed 0", "50 %, seed 1", "50 %, 2 seeds", "100 %, seed 0"]
    assert all(run in line for run, line in zip(runs, lines[3:7], strict=True))
    assert all(TREE in line for line in lines[3:7])
    assert all("max_depth" in lines[k] for k in (3, 4, 6))


def test_seeds_have_a_row_of_their_mean_and_standard_deviation(evaluate):
    done = evaluate("-e", "good", "-e", "bad", "--fraction", "0.5", "--seeds", "3", "--json")
    results = json.loads(done.stdout)
    done = evaluate("-e", "good", "-e", "bad", "--fraction", "0.5", "--seeds", "3")
    rows = done.stdout.splitlines()[3:11]
    for name, lines, runs in (("good", rows[:4], results[:3]), ("bad", rows[4:], results[3:])):
        assert all(line.startswith(name) for line in lines)
        assert [line.split()[3:5] for line in lines[:3]] == [["seed", str(k)] for k in range(3)]
        for score in (lambda r: r["score"], lambda r: r["also"]["balanced-accuracy"]["score"]):
            values = np.array([score(run) for run in runs])
            mean = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
            assert mean in lines[3] and f"{values[0]:.3f}" in lines[0]
        assert "50 %, 3 seeds" in lines[3]
        # no interval is that of the mean; it stands there only if all seeds have it
        assert name == "good" or " – 0." not in lines[3]
        assert "72 of 72" in lines[3] and "imported embeddings" in lines[3]
    assert "±: standard deviation over seeds" in done.stdout


def test_eighty_columns_are_enough(evaluate, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = evaluate("-e", "good", "-e", "bad", "--probe", "knn", "--fraction", "0.5,1")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    _, _, first, *_ = lines
    assert first.split()[:4] == ["embedding", "probe", "labels", "accuracy"]
    assert "95 % interval" in first
    assert "in all rows: " in done.stdout and "clips 72 of 72" in done.stdout


def test_json_is_the_results(evaluate, tmp_path):
    done = evaluate("-e", "good", "--json", "--probe", "sklearn.naive_bayes:GaussianNB")
    (path,) = (tmp_path / "reports").rglob("*.json")
    assert json.loads(done.stdout) == [json.loads(path.read_text())]


def test_a_warning_says_of_which_run(evaluate):
    probe = "sklearn.linear_model:LogisticRegression:max_iter=1"
    done = evaluate("-e", "good", "--probe", probe, "--fraction", "0.5")
    assert done.returncode == 0
    assert f"good / {probe} / 50 % of labels, seed 0: 9 of 9 fits did not converge" in done.stderr
    assert "3 of them belong to scored probes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("-e", "good", "--fraction", "half"),
            "--fraction must be numbers separated by commas, got half",
        ),
        (("-e", "good", "--fraction", "0"), "--fraction must be > 0 and <= 1, got 0"),
        (("-e", "good", "--seeds", "0"), "--seeds"),
        (
            (
                "-e",
                "goood",
            ),
            "no embeddings of 'goood'",
        ),
        (
            (
                "-e",
                "good+good",
            ),
            "the same embedding twice",
        ),
        (("-e", "good:stream=deep"), "good: no stream 'deep'"),
        (
            ("-e", "good:pool=std"),
            "good: its stream embedding is one vector per clip; leave out pool=",
        ),
        (("-e", "good", "--probe", "svm"), "unknown probe 'svm'"),
        (
            ("-e", "good", "--probe", "sklearn.svm:SVR"),
            "mine needs a classifier, got SVR, a regressor",
        ),
        (("-e", "good", "--preset", "kumar"), "unknown preset 'kumar'"),
        (("-e", "good", "--preset", "hear", "--probe", "knn"), "leave out --probe knn"),
        (("-e", "good", "--probe", "head"), "good: no head in "),
    ],
)
def test_mistakes_are_one_line(evaluate, arguments, words):
    done = evaluate(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_keeps_what_is_finished(evaluate, tmp_path, monkeypatch):
    compute = ProbeRun.compute

    def stop(own, *others):
        if own.label == "bad":
            raise KeyboardInterrupt
        return compute(own, *others)

    with monkeypatch.context() as patch:
        patch.setattr(ProbeRun, "compute", stop)
        done = evaluate("-e", "good", "-e", "bad", "--probe", "sklearn.naive_bayes:GaussianNB")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == ("interrupted; finished work is saved, the same command resumes it\n")
    (path,) = (tmp_path / "reports").rglob("*.json")
    before = path.read_bytes()
    done = evaluate("-e", "good", "-e", "bad", "--probe", "sklearn.naive_bayes:GaussianNB")
    assert done.returncode == 0 and path.read_bytes() == before
    assert len(list((tmp_path / "reports").rglob("*.json"))) == 2
