"""A small paper of networks trained by labels: best and last epochs, curves, cost, rehearsal."""

import json
import shutil

import numpy as np
import pytest
import yaml
from scipy import stats

from probekit import cards
from probekit.errors import CardError, DataError
from probekit.reproduce import arguments, epoch_scores, preconditions, training_cost
from probekit.reproduce.assets import Assets
from probekit.reproduce.reproduction import reproduce

SUPERVISED = {"name": "supervised", "recipe": "lee2021-supervised"}
CONTRASTIVE = {"recipe": "lee2021", "objective": "contrastive"}
PAPER = {
    "name": "networks",
    "title": "Networks",
    "tables": [
        {
            "name": "table-1",
            "title": "Scores",
            "where": "Table 1",
            "task": "mine",
            "metric": "accuracy",
            "network": "short-chunk:width=2",
            "columns": [{"label": "50 %", "fraction": 0.5}, {"label": "100 %"}],
            "rows": [
                {"label": "supervised, best", **SUPERVISED, "statistic": "best",
                 "values": [0.4, 0.5]},
                {"label": "supervised, last", **SUPERVISED, "statistic": "last",
                 "values": [None, 0.5], "spreads": [None, 0.1]},
                {"label": "others", **CONTRASTIVE, "name": "with others", "unlabeled": "more",
                 "mixing": False, "values": [None, 0.6]},
                {"label": "own", **CONTRASTIVE, "name": "with own", "unlabeled": "train",
                 "warm_up": 3, "statistic": "last", "values": [None, 0.6]},
            ],
        }
    ],
    "figures": [
        {"name": "figure-1", "title": "Curves", "where": "Figure 1", "kind": "curve",
         "task": "mine",
         "lines": [{"label": "labels", "network": "short-chunk:width=2", **SUPERVISED},
                   {"label": "both", "network": "short-chunk:width=2", **CONTRASTIVE,
                    "name": "with others", "unlabeled": "more", "mixing": False}]},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory, corpus):
    """A task with two folds, another one of other clips, and the paper's card."""
    base = tmp_path_factory.mktemp("networks")
    files = {}
    for name in ("mine", "more"):
        shutil.copytree(corpus, base / name)
        files[name] = sorted(path.relative_to(base / name) for path in (base / name).rglob("*.*"))
    lines = ["clip_id,path,label,fold"]
    lines += [f"{p.stem},{p},{p.parent},{k % 2 + 1}" for k, p in enumerate(files["mine"])]
    (base / "mine" / "mine.csv").write_text("\n".join(lines) + "\n")
    lines = ["clip_id,path,label,fold"]
    lines += [f"u{p.stem},{p},{p.parent},{k % 2 + 1}" for k, p in enumerate(files["more"])]
    (base / "more" / "more.csv").write_text("\n".join(lines) + "\n")
    contents = [("reports", PAPER)]
    contents += [
        ("tasks", {"name": name, "title": name, "dataset": name, "module": "table",
                   "options": {"csv": f"{name}.csv"}, "protocol": {"kind": "folds"},
                   "metric": "accuracy", "download": f"Ask for {name}."})
        for name in ("mine", "more")
    ]  # fmt: skip
    for kind, content in contents:
        path = base / "cards" / kind / f"{content['name']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return base


@pytest.fixture(autouse=True)
def own_cards(places, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CARDS", str(places / "cards"))


@pytest.fixture(scope="module")
def found(places):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBEKIT_CARDS", str(places / "cards"))
        roots = {name: places / name for name in ("mine", "more")}
        assets = Assets(places / "cache", roots, device="cpu")
        card = cards.load_paper_card("networks")
        return reproduce(card, assets, reports=places / "out", epochs=2)


def scores(found):
    return {(s.cell.row, s.cell.column): s for s in found.tables[0][1]}


def test_best_and_last_are_of_one_run_and_say_what_they_are(found, places):
    own = scores(found)
    assert {s.status for s in own.values()} == {"computed"}
    best, last = own["supervised, best", "100 %"], own["supervised, last", "100 %"]
    assert best.run == last.run != own["supervised, best", "50 %"].run
    runs = [json.loads(path.read_text()) for path in (places / "out" / "results").rglob("*.json")]
    (run,) = (run for run in runs if run["run"] == best.run)
    by_fold = {}
    for epoch in run["history"]:
        by_fold.setdefault(epoch["fold"], []).append(epoch["test_score"])
    assert best.value == pytest.approx(np.mean([max(v) for v in by_fold.values()]))
    assert last.value == pytest.approx(np.mean([np.mean(v) for v in by_fold.values()]))
    assert any("chosen on them" in text for text in best.provenance)
    assert any("mean over the last 2 epochs; 2 folds" in text for text in last.provenance)
    assert "trained for 2 epochs, recipe lee2021-supervised has 200" in last.provenance
    assert len(runs) == 4 and run["embedding"] == "supervised"
    (others,) = (run for run in runs if run["embedding"] == "with others")
    # without a statistic: the score of the last epoch, as everywhere
    assert own["others", "100 %"].value == others["score"]
    assert others["settings"]["objective"]["mixing"] is False
    assert others["settings"]["unlabeled"] == "more"


def test_last_is_of_twenty_epochs_and_the_interval_of_student():
    rng = np.random.default_rng(0)
    table = rng.random((5, 30))
    history = [
        {"fold": str(fold), "epoch": epoch + 1, "test_score": float(score)}
        for fold, row in enumerate(table)
        for epoch, score in enumerate(row)
    ]
    last = epoch_scores.score_epochs({"history": history, "embedding": "x"}, "last")
    values = table[:, -20:].mean(axis=1)
    assert last.mean == pytest.approx(values.mean())
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (last.low, last.high) == (pytest.approx(low), pytest.approx(high))
    assert f"standard deviation {values.std(ddof=1):.3f} (n - 1)" in last.note
    best = epoch_scores.score_epochs({"history": history, "embedding": "x"}, "best")
    assert best.mean == pytest.approx(table.max(axis=1).mean())
    one_fold = epoch_scores.score_epochs({"history": history[:1], "embedding": "x"}, "last")
    assert (one_fold.mean, one_fold.low) == (table[0, 0], None)
    history[7]["test_score"] = None
    with pytest.raises(DataError, match="x: epoch 8 of fold 0 has no test score: 'last' needs"):
        epoch_scores.score_epochs({"history": history, "embedding": "x"}, "last")


def test_the_figure_is_of_the_runs_of_the_table(found):
    (drawn,) = found.figures
    assert drawn.status == "computed", drawn.reason
    (path,) = [path for path in drawn.files if path.suffix == ".csv"]
    lines = path.read_text().splitlines()
    assert {tuple(line.split(",")[:2]) for line in lines[1:]} == {
        (run, quantity) for run in ("labels", "both") for quantity in ("train_score", "test_score")
    }
    assert any("trained for 2 epochs" in text for text in drawn.provenance)


def test_what_is_missing_names_the_unlabeled_task_too(places):
    card = cards.load_paper_card("networks")
    assert arguments.list_tasks(card) == ["mine", "more"]
    found = reproduce(card, Assets(places / "none"), reports=places / "nothing")
    assert scores(found)["others", "100 %"].needs == (
        "data: name the folder with --root mine=DIR. Ask for mine.",
        "data: name the folder with --root more=DIR. Ask for more.",
    )
    assert len(scores(found)["own", "100 %"].needs) == 1
    assert len(found.figures[0].needs) == 2


def test_the_cost_is_counted_from_the_tables(places):
    """By hand: passes of crops, forward three times in training and once in scoring."""
    card = cards.load_paper_card("networks")
    assert training_cost.describe_cost(card, Assets(places / "none")) == ""
    clips = len((places / "mine" / "mine.csv").read_text().splitlines()) - 1
    train, test = (clips + 1) // 2, clips // 2
    assets = Assets(places / "none", {"mine": places / "mine"})
    cost = training_cost.estimate_cost(card, assets)
    assert (cost.runs, cost.trainings) == (3, 6)  # that with the other task is not known
    flop = training_cost.forward_flop("short-chunk:width=2", 5)
    supervised = 200 * (3 * train + test)
    half = 200 * (3 * 5 + test)
    steps = -(-train // 8)
    contrastive = 3 * (3 * train + test)
    contrastive += 100 * (3 * steps * (train / steps + 2 * (train / steps + train)) + test)
    assert cost.flop == pytest.approx(2 * flop * (supervised + half + contrastive), rel=0.02)
    assert "3 runs, 6 networks" in cost.describe() and "GPU hours at 20 TFLOP/s" in cost.describe()
    few = training_cost.estimate_cost(card, assets, epochs=2)
    assert few.flop < cost.flop / 20


def test_resnet50v2_costs_what_its_fact_sheet_says():
    """4.26 GMAC a clip of 128 × 480, and the mel filters and heads."""
    assert training_cost.forward_flop("resnet50v2", 10) / 2e9 == pytest.approx(4.26, rel=0.01)


def test_rehearsed_networks_are_narrow_and_say_so(places, tmp_path):
    paper = json.loads(json.dumps(PAPER))
    table = paper["tables"][0]
    table["network"] = "resnet50v2"
    table["columns"], table["rows"] = [{"label": "100 %"}], [table["rows"][0]]
    table["rows"][0] |= {"values": [0.5], "init": "resnet50v2"}
    paper["figures"] = []
    (tmp_path / "cards" / "reports").mkdir(parents=True)
    (tmp_path / "cards" / "reports" / "networks.yaml").write_text(yaml.safe_dump(paper))
    card = cards.PaperCard.model_validate(paper)
    preconditions.check_settings(card, None, "cpu")
    assets = Assets(places / "cache", {"mine": places / "mine"}, device="cpu")
    found = reproduce(card, assets, reports=tmp_path / "out", rehearsed=True)
    (score,) = found.tables[0][1]
    assert score.status == "computed", score.reason
    assert "resnet50v2:width=4 with random weights in place of resnet50v2" in score.provenance
    assert score.uses_standins and score.difference is None


@pytest.mark.parametrize(
    ("change", "words"),
    [({"name": ""}, "no name"), ({"statistic": "median"}, "statistic")],
)
def test_a_row_of_a_network_is_complete(tmp_path, monkeypatch, change, words):
    paper = json.loads(json.dumps(PAPER))
    paper["tables"][0]["rows"][0] |= change
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "networks.yaml").write_text(yaml.safe_dump(paper))
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    with pytest.raises(CardError, match=words):
        cards.load_paper_card("networks")
