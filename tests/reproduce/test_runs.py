"""A small paper of students, reproduced: trained, counted, compared, drawn; and what is missing."""

import json
import shutil
from contextlib import suppress

import numpy as np
import pytest
import yaml
from scipy import stats

from probekit import cards
from probekit.cards.paper import Setting
from probekit.distillation import parameter_count
from probekit.errors import DataError
from probekit.reproduce import arguments, gains, paper_tables
from probekit.reproduce.assets import Assets
from probekit.reproduce.reproduction import reproduce
from probekit.reproduce.runs import Runs

STUDENT = "short-chunk:width=2"
NONE = [None, None, None]
PAPER = {
    "name": "students",
    "title": "Students",
    "tables": [
        {
            "name": "table-1",
            "title": "Scores",
            "where": "Table 1",
            "unpublished": True,
            "student": STUDENT,
            "metric": "accuracy",
            "columns": [
                {"label": "A", "task": "mine-0"},
                {"label": "B", "task": "mine-1"},
                {"label": "gain", "over": "base", "of": ["A", "B"]},
            ],
            "rows": [
                {"label": "base", "values": [0.5, None, None]},
                {"label": "reg", "method": "con-reg", "alpha": 2, "embedding": "melstats",
                 "values": [None, None, 3.5]},
                {"label": "film", "method": "film", "embedding": "melstats", "values": NONE},
                {"label": "init", "student": "cf-net:width=8", "method": "init",
                 "init": "cf:width=8", "values": NONE},
            ],
        },
        {
            "name": "table-2",
            "title": "Counts",
            "where": "Table 2",
            "student": STUDENT,
            "metric": "parameters",
            "columns": [{"label": "training", "count": "training"},
                        {"label": "inference", "count": "inference"}],
            "rows": [{"label": "reg", "method": "con-reg", "embedding": "melstats",
                      "values": [7000, 99_000]}],
        },
    ],
    "figures": [
        {"name": "figure-1", "title": "Shares", "where": "Figure 1", "kind": "efficiency",
         "task": "mine-0", "shares": [1.0, 0.5],
         "lines": [{"label": "alone", "student": STUDENT},
                   {"label": "taught", "student": STUDENT, "method": "con-reg", "alpha": 2,
                    "embedding": "melstats"}]},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory, corpus):
    """Two tasks of the same clips, divided in two ways, and the paper's card."""
    base = tmp_path_factory.mktemp("students")
    shutil.copytree(corpus, base / "data")
    files = sorted(path.relative_to(base / "data") for path in (base / "data").rglob("*.*"))
    contents = [("reports", PAPER)]
    for shift in (0, 1):
        name, parts = f"mine-{shift}", ("train", "train", "valid", "test")
        lines = ["clip_id,path,label,split"]
        lines += [f"{p.stem},{p},{p.parent},{parts[(k + shift) % 4]}" for k, p in enumerate(files)]
        (base / "data" / f"{name}.csv").write_text("\n".join(lines) + "\n")
        card = {"name": name, "title": name, "dataset": "mine", "module": "table",
                "options": {"csv": f"{name}.csv"}, "protocol": {"kind": "split"},
                "metric": "accuracy", "download": "Ask us."}  # fmt: skip
        contents.append(("tasks", card))
    for kind, content in contents:
        (base / "cards" / kind).mkdir(parents=True, exist_ok=True)
        path = base / "cards" / kind / f"{content['name']}.yaml"
        path.write_text(yaml.safe_dump(content))
    return base


@pytest.fixture(autouse=True)
def own_cards(places, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CARDS", str(places / "cards"))


@pytest.fixture(scope="module")
def found(places):
    """All of it but the weights of cf, in two epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBEKIT_CARDS", str(places / "cards"))
        assets = Assets(places / "cache", {"mine": places / "data"}, device="cpu")
        return reproduce(
            cards.load_paper_card("students"), assets, reports=places / "out", epochs=2
        )


def scores(found, table=0):
    return {(s.cell.row, s.cell.column): s for s in found.tables[table][1]}


def kept(places):
    runs = [json.loads(path.read_text()) for path in (places / "out" / "results").rglob("*.json")]
    return {run["run"]: run for run in runs}


def test_students_are_trained_as_the_card_says(found, places):
    own, runs = scores(found), kept(places)
    assert {key: s.status for key, s in own.items()} == {
        ("base", "A"): "computed", ("base", "B"): "computed",
        ("reg", "A"): "computed", ("reg", "B"): "computed", ("reg", "gain"): "computed",
        ("film", "A"): "computed", ("film", "B"): "computed", ("film", "gain"): "computed",
        ("init", "A"): "missing", ("init", "B"): "missing", ("init", "gain"): "missing",
    }  # fmt: skip
    for (row, column), score in own.items():
        if score.status == "computed" and column != "gain":
            run = runs[score.run]
            assert run["score"] == score.value and len(run["history"]) == 2
            assert run["task"] == {"A": "mine-0", "B": "mine-1"}[column]
            method = {"base": "none", "reg": "con-reg", "film": "film"}[row]
            assert run["settings"]["method"] == method
            assert run["settings"]["alpha"] == (2 if row == "reg" else None)
            assert "trained for 2 epochs, recipe default has 200" in score.provenance


def test_a_gain_is_the_mean_difference_in_points(found):
    own = scores(found)
    for row in ("reg", "film"):
        expected = np.mean([own[row, c].value - own["base", c].value for c in "AB"])
        assert own[row, "gain"].value == pytest.approx(100 * expected)
    assert own["reg", "gain"].difference == pytest.approx(own["reg", "gain"].value - 3.5)
    assert "0 of 2 tasks" in own["init", "gain"].reason


def test_the_test_is_students_paired_one():
    rng = np.random.default_rng(0)
    ours, theirs = (dict(zip("abcde", rng.random(5), strict=True)) for _ in range(2))
    made = gains.mean_gain(ours, theirs, "abcde")
    reference = stats.ttest_rel(*([100 * one[c] for c in "abcde"] for one in (ours, theirs)))
    low, high = reference.confidence_interval(0.95)
    assert (made.low, made.high) == (pytest.approx(low), pytest.approx(high))
    assert f"t(4) = {reference.statistic:.2f}, p = {reference.pvalue:.2g}" in made.note
    some = gains.mean_gain({"a": 0.5, "b": 0.25}, {"a": 0.25, "b": 0.0, "c": 1.0}, "abc")
    assert (some.mean, some.low) == (25, None)
    assert "2 of 3 tasks (a, b); no t-test" in some.note
    with pytest.raises(DataError, match="1 of 3 tasks"):
        gains.mean_gain({"a": 0.5}, {"a": 0.25, "b": 0.0}, "abc")


def test_counts_are_shown_as_papers_print_them(found):
    own = scores(found, 1)
    count = parameter_count.count_method("con-reg", ["melstats"], STUDENT)
    training, inference = own["reg", "training"], own["reg", "inference"]
    assert (training.value, inference.value) == (count.training, count.inference)
    (line, other) = paper_tables.comparison_table(found, *found.tables[1]).rows
    assert line[4].text == parameter_count.format_count(count.training) and line[3].text == "7k"
    assert other[6].text == f"{count.inference - 99_000:+,}"


def test_the_curve_is_of_the_same_runs(found, places):
    (drawn,) = found.figures
    assert drawn.status == "computed" and any(path.suffix == ".pdf" for path in drawn.files)
    assert any("recipe default has 200" in text for text in drawn.provenance)
    (path,) = [path for path in drawn.files if path.suffix == ".json"]
    runs, used = kept(places), {one["run"] for one in json.loads(path.read_text())["runs"]}
    assert len(used) == 4 and used <= set(runs)
    assert {runs[one]["fraction"] for one in used} == {0.5, 1.0}
    # on all labels they are those of the table
    assert {scores(found)[row, "A"].run for row in ("base", "reg")} <= used


def test_what_is_missing_says_how_to_get_it(found, places):
    own = scores(found)
    (need,) = own["init", "A"].needs
    assert "--weights cf=FILE" in need and "None are public" in need
    nothing = reproduce(
        cards.load_paper_card("students"), Assets(places / "none"), reports=places / "nothing"
    )
    assert scores(nothing)["base", "A"].needs == (
        "data: name the folder with --root mine-0=DIR. Ask us.",
    )
    assert nothing.figures[0].status == "missing" and "Ask us." in nothing.figures[0].needs[0]
    assert paper_tables.summary_line(nothing) == "2 of 13 scores and 0 of 1 figures"
    # with the recordings known from the cache, what is missing is the weights alone
    again = reproduce(cards.load_paper_card("students"), Assets(places / "cache", device="cpu"),
                      reports=places / "out", epochs=2)  # fmt: skip
    assert scores(again)["reg", "A"].run == own["reg", "A"].run


def test_a_rehearsal_has_weights_for_all_and_is_short(places, tmp_path):
    card = arguments.select_parts(cards.load_paper_card("students"), ["table-1"])
    assert arguments.list_tasks(card) == ["mine-0", "mine-1"]
    assert arguments.check_weights(card, ["cf=random:0"])
    assets = Assets(places / "cache", {"mine": places / "data"}, ("cf=random:0",), "cpu")
    table = card.tables[0]
    few = table.model_copy(update={"rows": [r for r in table.rows if r.label == "init"],
                                   "columns": table.columns[:1]})  # fmt: skip
    few = few.model_copy(update={"rows": [few.rows[0].model_copy(update={"values": [0.5]})]})
    made = reproduce(card.model_copy(update={"tables": [few]}), assets, reports=tmp_path,
                     rehearsed=True)  # fmt: skip
    (score,) = scores(made).values()
    assert score.status == "computed", score.reason
    assert "trained for 1 epoch, recipe default has 200" in score.provenance
    assert score.uses_standins and score.difference is None  # weights that were drawn at random


def test_the_time_that_is_left_is_that_of_runs_that_were_computed(monkeypatch, tmp_path):
    seconds = iter([600, 0.5, 500, 700, 9000])
    now, lines = [0.0], []
    monkeypatch.setattr("probekit.reproduce.runs.monotonic", lambda: now[0])
    assets = Assets(tmp_path / "cache", {}, [], "cpu")
    some = Runs(assets, tmp_path, report_step=lines.append, total=7)

    def compute(setting, frames):
        some._report_run(setting.task)
        now[0] += next(seconds)
        if setting.task == "a":
            raise DataError("not at hand")  # fails after 600 s
        return {}

    monkeypatch.setattr(some, "_compute", compute)
    for task in "abcdef":
        with suppress(DataError, StopIteration):
            some.get_run(Setting(task=task))
    assert lines == [
        "a (1 of 7)", "b (2 of 7)", "c (3 of 7)", "d (4 of 7)",
        "e (5 of 7, about 30 min left)", "f (6 of 7, about 2 h left)",
    ]  # fmt: skip


def test_another_reading_of_a_table_is_computed_by_request_only():
    card = cards.load_paper_card("hung2022")

    def parts(*only):
        selected = arguments.select_parts(card, only)
        return [part.name for part in (*selected.tables, *selected.figures)]

    assert parts() == ["table-1", "table-2", "figure-2-dcase", "figure-2-mtat"]
    assert parts("table-1-loss") == ["table-1-loss"]
    assert parts("table-1-loss", "table-1") == ["table-1", "table-1-loss"]


@pytest.mark.parametrize("name", ["runs/2e38bcfcda81", "student-2e38bcfcda81", "hf:org/name"])
def test_a_network_without_a_card_has_no_weights_trained_here(tmp_path, name):
    assert Assets(tmp_path / "cache", reports=tmp_path).weights_of(name) == ()
