import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from probekit.cache import head, import_export, integrity
from probekit.data import readers
from probekit.errors import DataError
from probekit.probes import pretrained_head
from probekit.probes.evaluate import evaluate

CLASSES = ("bark", "meow", "moo", "neigh")  # the head's; the task has two of them


@pytest.fixture
def made(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 5)).astype(np.float32)
    weight, bias = rng.standard_normal((4, 5)), rng.standard_normal(4)
    noisy = x @ weight.T + bias + rng.standard_normal((60, 4))
    labels = [
        ";".join(c for k, c in enumerate(CLASSES) if row[k] > 0 and k in (0, 2)) for row in noisy
    ]
    table = pd.DataFrame(
        {
            "clip_id": [f"c{k}" for k in range(60)],
            "path": [f"{k}.wav" for k in range(60)],
            "labels": labels,
            "split": ["train"] * 30 + ["test"] * 30,
        }
    )
    table.to_csv(tmp_path / "farm.csv", index=False)
    np.save(tmp_path / "x.npy", x)
    clips = readers.from_csv(tmp_path / "farm.csv")
    found = import_export.import_arrays(
        "net", clips, [tmp_path / "x.npy"], cache=tmp_path / "cache", dataset="farm"
    )
    return tmp_path, found, x, weight, bias


def keep(found, weight, bias, pooling="none", stream="embedding", attention=None):
    kept = head.SavedHead(CLASSES, weight, bias, stream, pooling, attention)
    head.save_head(found.folder.parent, kept)


def run(place, **options):
    (result,) = evaluate(
        str(place / "farm.csv"),
        "net",
        cache=place / "cache",
        reports=place / "out",
        probe="head",
        **options,
    )
    return result


def test_the_score_is_that_of_the_networks_own_classes(made):
    place, found, x, weight, bias = made
    keep(found, weight, bias)
    result = run(place)
    clips = readers.from_csv(place / "farm.csv")
    assert clips.class_names == ("bark", "moo")
    scores = (x @ weight.T + bias)[30:, [0, 2]]
    truth = clips.targets()[30:]
    assert result["probe"] == "head"
    assert result["metric"] == "pr-auc"
    assert result["score"] == pytest.approx(average_precision_score(truth, scores, average="macro"))
    assert result["folds"][0]["params"] == {}
    assert roc_auc_score(truth, scores) > 0.7  # the fixture is learnable at all


def test_the_head_is_a_run_of_its_own(made):
    place, found, _, weight, bias = made
    keep(found, weight, bias)
    (linear,) = evaluate(
        str(place / "farm.csv"), "net", cache=place / "cache", reports=place / "out"
    )
    assert run(place)["run"] != linear["run"]
    assert run(place)["run"] == run(place)["run"]


def test_without_a_head_it_says_so(made):
    with pytest.raises(DataError, match="net: no head in "):
        run(made[0])


def test_a_head_that_needs_the_network_is_refused(made):
    place, found, _, weight, bias = made
    keep(found, weight, bias, pooling="transformer")
    with pytest.raises(DataError, match="pools frames by transformer"):
        run(place)


def test_attention_weighs_frames_for_each_class(made, monkeypatch):
    _, found, _, weight, bias = made
    rng = np.random.default_rng(3)
    attention = rng.standard_normal((4, 5)), rng.standard_normal(4)
    keep(found, weight, bias, pooling="attention", attention=attention)
    frames = rng.standard_normal((7, 5)).astype(np.float32)
    monkeypatch.setattr(type(found), "frames", lambda self, clip_id, stream: frames)
    names = ("moo", "bark")
    scores = pretrained_head.head_scores(found, ["c0"], names, found.vectors(["c0"]))
    for name, score in zip(names, scores[0], strict=True):
        k = CLASSES.index(name)
        weights = np.exp(frames @ attention[0][k] + attention[1][k])
        expected = np.average(expit(frames @ weight[k] + bias[k]), weights=weights)
        assert score == pytest.approx(expected, rel=1e-6)


def test_a_head_of_an_earlier_version_is_repaired(made):
    place, found, _, weight, bias = made
    keep(found, weight, bias, pooling="attention")
    with pytest.raises(DataError, match=r"no weights of the attention.*cache repair net@.* farm"):
        run(place)
    assert "no weights of the attention" in integrity.find_damaged_head(found.folder.parent)


def test_classes_that_the_head_does_not_know_are_named(made):
    _, found, _, weight, bias = made
    keep(found, weight, bias)
    with pytest.raises(DataError, match=r"1 of the task's 2 are not among them.*'quack'"):
        pretrained_head.head_scores(found, ["c0"], ("bark", "quack"), found.vectors(["c0"]))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("lin", lambda p: (p**2).sum(0) / p.sum(0)), ("mean", lambda p: p.mean(0))],
)
def test_frames_are_pooled_as_the_network_does(made, monkeypatch, pooling, expected):
    _, found, _, weight, bias = made
    keep(found, weight, bias, pooling=pooling)
    frames = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)
    monkeypatch.setattr(type(found), "frames", lambda self, clip_id, stream: frames)
    scores = pretrained_head.head_scores(found, ["c0"], CLASSES, found.vectors(["c0"]))
    np.testing.assert_allclose(scores[0], expected(expit(frames @ weight.T + bias)), rtol=1e-6)


def test_another_stream_than_the_heads_is_refused(made):
    place, found, _, weight, bias = made
    keep(found, weight, bias, stream="deep")
    with pytest.raises(DataError, match="reads the stream 'deep', not 'embedding'"):
        evaluate(
            str(place / "farm.csv"),
            "net:stream=embedding",
            cache=place / "cache",
            reports=place / "out",
            probe="head",
        )


def test_a_stream_that_was_not_extracted_is_named(made):
    place, found, _, weight, bias = made
    keep(found, weight, bias, stream="deep")
    with pytest.raises(DataError, match=r"reads the stream .deep., .* --streams deep"):
        run(place)
