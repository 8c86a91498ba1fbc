"""MTG-Jamendo: the published scores from the published predictions, and lists of both kinds."""

import csv

import numpy as np
import pytest

from probekit.cards import load_task_card
from probekit.errors import DataError
from probekit.metrics.metrics import get_metric
from probekit.tasks.task import Task, load_task

STANDIN = ("jamendo-moodtheme", 32)


@pytest.fixture
def baseline(shared):
    """Ground truth, predictions and scores of MediaEval 2019's baseline."""
    folder = shared / "data/mtg_jamendo_moodtheme"
    truth = np.load(folder / "groundtruth.npy").astype(np.int8)
    predictions = np.load(folder / "baseline_vggish_predictions.npy")
    with (folder / "baseline_vggish_results.tsv").open(newline="") as stream:
        return truth, predictions, dict(csv.reader(stream, delimiter="\t"))


@pytest.mark.parametrize(("metric", "name"), [("roc-auc", "ROC-AUC"), ("pr-auc", "PR-AUC")])
def test_published_scores_are_met_to_the_last_printed_digit(baseline, metric, name):
    truth, predictions, published = baseline
    assert truth.shape == predictions.shape == (4231, 56)
    score = get_metric(metric).score(truth, predictions)
    assert f"{score:.6f}" == published[f"{name}-macro"]
    on_card = {p.metric: p.score for p in load_task_card("jamendo-moodtheme").published}
    assert f"{on_card[metric]:.6f}" == published[f"{name}-macro"]


def test_one_score_for_all_cells_is_the_published_micro_score(baseline):
    truth, predictions, published = baseline
    column = truth.reshape(-1, 1), predictions.reshape(-1, 1)
    assert f"{get_metric('roc-auc').score(*column):.6f}" == published["ROC-AUC-micro"]
    assert f"{get_metric('pr-auc').score(*column):.6f}" == published["PR-AUC-micro"]


def test_order_of_tags_is_that_of_the_published_list(shared):
    tags = np.load(shared / "data/mtg_jamendo_moodtheme/tag_list.npy")
    moods = [tag for tag in tags if tag.startswith("mood/theme---")]
    assert len(moods) == 56
    assert moods == sorted(moods)


@pytest.mark.parametrize("subset", ["moodtheme", "instrument", "genre", "top50tags"])
def test_cards_of_all_subsets_name_their_own_lists(subset):
    card = load_task_card(f"jamendo-{subset}")
    assert card.options == {"subset": subset, "split": 0}
    assert f"autotagging_{subset}-train.tsv" in card.layout


def test_smaller_files_are_found_by_their_own_suffix(editable_standin):
    before = load_task("jamendo-moodtheme").manifest(editable_standin)
    for path in list(editable_standin.rglob("*.mp3")):
        path.rename(path.with_name(path.name.replace(".mp3", ".low.mp3")))
    after = load_task("jamendo-moodtheme").manifest(editable_standin)
    assert before.column("path")[0] == "audio/00/1000.mp3"
    assert after.column("path")[0] == "audio/00/1000.low.mp3"
    assert after.clip_ids == before.clip_ids


def edit(root, change):
    path = root / "data/splits/split-0/autotagging_moodtheme-test.tsv"
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")


def test_middle_of_long_tracks_by_a_card_of_ones_own(editable_standin):
    def change(lines):
        lines[1] = lines[1].replace("\t1.0\t", "\t251.7\t")

    edit(editable_standin, change)
    card = load_task_card("jamendo-moodtheme")
    card = card.model_copy(update={"options": {**card.options, "center": 30}})
    clips = Task(card).manifest(editable_standin)
    test = clips.table[clips.table["split"] == "test"]
    assert (test["start"].iloc[0], test["end"].iloc[0]) == (110.85, 140.85)
    assert test["start"].iloc[1:].isna().all()  # shorter tracks are whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.pop(0), r"expected a header with TRACK_ID"),
        (lambda lines: lines.insert(2, "track_1\tartist_1"), r"line 3: expected TRACK_ID"),
        (lambda lines: lines.append("a\tb\tc\td.mp3\tlong\te"), r"DURATION must be a number"),
    ],
)
def test_faulty_lists_are_named(editable_standin, change, message):
    edit(editable_standin, change)
    with pytest.raises(DataError, match=rf"moodtheme-test\.tsv.*{message}"):
        load_task("jamendo-moodtheme").manifest(editable_standin)
