"""OpenMIC-2018: what nobody judged is unknown; lists and values that cannot be."""

import numpy as np
import pytest

from probekit.cards import load_task_card
from probekit.errors import DataError, UnknownNameError
from probekit.metrics.metrics import get_metric
from probekit.tasks.task import Task, load_task

STANDIN = ("openmic2018", 48)


def test_cells_are_known_where_an_instrument_was_judged(tmp_path):
    labels = (
        "sample_key,instrument,relevance,num_responses\n"
        "000046_3840,clarinet,0.17104999999999998,3\n"
        "000046_3840,mallet percussion,0.5,3\n"
        "000135_483840,voice,0.49,3\n"
    )
    (tmp_path / "openmic-2018-aggregated-labels.csv").write_text(labels)
    info = "track_id,artist_id,sample_key\n46,4,000046_3840\n135,52,000135_483840\n"
    (tmp_path / "openmic-2018-metadata.csv").write_text(info)
    (tmp_path / "partitions").mkdir()
    (tmp_path / "partitions/train01.txt").write_text("000046_3840\n")
    (tmp_path / "partitions/test01.txt").write_text("000135_483840\n")
    card = load_task_card("openmic2018")
    kept = ["clarinet", "mallet_percussion", "voice"]
    clips = Task(card.model_copy(update={"labels": kept})).manifest(tmp_path)
    np.testing.assert_array_equal(clips.targets(), [[0, 1, np.nan], [np.nan, np.nan, 0]])
    assert list(clips.column("path")) == [
        "audio/000/000046_3840.ogg",
        "audio/000/000135_483840.ogg",
    ]
    assert list(clips.column("split")) == ["train", "test"]
    assert list(clips.column("group")) == ["4", "52"]


def test_metrics_see_only_judged_excerpts_of_each_instrument(standin):
    targets = load_task("openmic2018").manifest(standin).targets()
    scores = np.random.default_rng(0).random(targets.shape)
    sk = pytest.importorskip("sklearn.metrics")
    areas = get_metric("pr-auc").per_class(targets, scores)
    for k in range(4):  # the four that play
        known = ~np.isnan(targets[:, k])
        assert 0 < known.sum() < len(targets)
        expected = sk.average_precision_score(targets[known, k], scores[known, k])
        assert areas[k] == pytest.approx(expected, abs=1e-12)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_excerpt_of_both_parts_is_named(editable_standin):
    train = (editable_standin / "partitions/split01_train.csv").read_text()
    with (editable_standin / "partitions/split01_test.csv").open("a") as stream:
        stream.write(train.splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"split01_test\.csv: excerpt 000000_0 is in the other"):
        load_task("openmic2018").manifest(editable_standin)


@pytest.mark.parametrize(
    ("file", "old", "new", "error", "message"),
    [
        ("openmic-2018-aggregated-labels.csv", ",0.9,", ",high,", DataError, "from 0 to 1, got 'h"),
        ("openmic-2018-aggregated-labels.csv", ",0.9,", ",1.5,", DataError, r"got '1\.5'"),
        ("openmic-2018-aggregated-labels.csv", "banjo", "bango", UnknownNameError, "'banjo'"),
        ("openmic-2018-metadata.csv", "000000_0", "000000_1", DataError, "000000_0 of .* not the"),
        ("partitions/split01_train.csv", "000000_0", "000000_1", DataError, "000000_0 of .* not"),
    ],
)
def test_values_that_cannot_be(editable_standin, file, old, new, error, message):
    edit(editable_standin / file, old, new)
    with pytest.raises(error, match=message):
        load_task("openmic2018").manifest(editable_standin)
