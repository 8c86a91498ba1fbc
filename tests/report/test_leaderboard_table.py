"""Leaderboards: what is bold, what has a dagger, what stands in notes."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from probekit.cache import import_export
from probekit.data import manifest as manifests
from probekit.errors import ProbekitError
from probekit.metrics import metrics
from probekit.probes import evaluate
from probekit.report import leaderboard_table, table_format
from probekit.scores import comparison, groups

CARD = """
name: {task}
title: Sounds of {task}
dataset: {task}
module: table
options: {{csv: {task}.csv}}
protocol: {{kind: folds, inner_folds: 3}}
metric: {metric}
also: [balanced-accuracy]
published:
  - {{method: "A & B", score: 0.8765, metric: {metric}, where: "S, 2020",
     differs: 5 % of it}}
  - {{method: other, score: 0.9, metric: balanced-accuracy, where: "Somebody, 2021"}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory, few_settings):
    root = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    for task, metric in (("one", "accuracy"), ("two", "log-loss")):
        rows = [
            {"clip_id": f"c{k}", "path": f"{k}.wav", "labels": (("p", "q")[k % 2],),
             "fold": f"{k // 2 % 4}"}
            for k in range(160)
        ]  # fmt: skip
        clips = manifests.from_rows(task, rows)
        clips.write(root / f"{task}.csv")
        (root / f"{task}.yaml").write_text(CARD.format(task=task, metric=metric))
        clear = np.eye(2)[clips.targets()]
        noise = rng.normal(size=(160, 2))
        for name, values in (
            ("good", clear + 0.4 * noise),
            ("alike", clear + 0.4 * noise + 0.01 * rng.normal(size=(160, 2))),
            ("bad", clear + 6.0 * rng.normal(size=(160, 2))),
        ):
            np.save(root / "x.npy", values)
            import_export.import_arrays(
                name, clips, [root / "x.npy"], cache=root / "cache", dataset=task
            )
        names = ["good", "alike", "bad"] if task == "one" else ["good", "bad"]
        card, places = str(root / f"{task}.yaml"), {"cache": root / "cache", "root": root}
        with few_settings():
            evaluate.evaluate(card, names, reports=root / "out", **places)
    return root / "out"


def entries(store, *tasks):
    return [one for task in tasks for one in groups.load_groups(task, store)]


def test_best_and_what_is_not_told_from_it(store):
    found = entries(store, "one")
    grid = leaderboard_table.build_table(found)
    ours = {row[0].text: row[1] for row in grid.rows[:3]}
    top, tests = comparison.compare_with_best(found)
    assert [name for name, cell in ours.items() if cell.bold] == [top.label]
    for one in tests:
        same = one.verdict == "not distinguishable"
        assert ("†" in ours[one.second].marks) == same, one
    assert "†" not in ours["bad"].marks and {*ours} == {"good", "alike", "bad"}
    assert [row[0].text for row in grid.rows][2] == "bad"  # best first


def test_scores_have_intervals_and_notes(store):
    found = entries(store, "one")
    grid = leaderboard_table.build_table(found, digits=2)
    [good] = [one for one in found if one.label == "good"]
    said = good.results[0]
    expected = (
        f"{said['score']:.2f} [{said['interval']['low']:.2f}, {said['interval']['high']:.2f}]"
    )
    own = {row[0].text: row[1] for row in grid.rows}
    assert own["good"].text == expected
    letters = dict(grid.notes)
    assert letters[own["good"].marks[-1]] in said["provenance"]  # imported
    plain = leaderboard_table.build_table(found, intervals=False)
    assert plain.rows[0][1].text == f"{max(o.score for o in found):.3f}"


def test_published_scores_of_the_same_metric_follow(store):
    grid = leaderboard_table.build_table(entries(store, "one"))
    assert grid.rules == {3}
    [row] = grid.rows[3:]
    assert row[0].text == "A & B (published)" and row[1].text == "0.876"
    assert dict(grid.notes)[row[1].marks[0]] == "S, 2020; differs: 5 % of it"


def test_several_tasks_stand_beside_each_other(store):
    grid = leaderboard_table.build_table(entries(store, "one", "two"))
    assert grid.columns == ("embedding", "one, accuracy", "two, log-loss ↓")
    own = {row[0].text: row for row in grid.rows}
    assert own["alike"][2].text == "–"
    # the lower log loss is the better one
    assert own["good"][2].bold and not own["bad"][2].bold
    assert ("", "↓: lower is better.") in grid.notes


def test_a_single_run_is_not_called_the_best(store):
    [one] = [e for e in entries(store, "one") if e.label == "bad"]
    grid = leaderboard_table.build_table([one])
    assert not grid.rows[0][1].bold
    assert not any("Bold" in text for _, text in grid.notes)


def seeded(found, shifts):
    """The same groups, each as if it had been run with several seeds."""
    groups_of_seeds = []
    for group in found:
        [first] = group.results
        results = tuple(
            {**first, "score": first["score"] + shift, "seed": k} for k, shift in enumerate(shifts)
        )
        groups_of_seeds.append(replace(group, results=results, paths=group.paths * len(shifts)))
    return groups_of_seeds


def test_seeds_are_mean_and_standard_deviation(store):
    [bad] = [e for e in entries(store, "one") if e.label == "bad"]
    shifts = (-0.02, 0.0, 0.05)
    [group] = seeded([bad], shifts)
    grid = leaderboard_table.build_table([group], intervals=False)
    mean, sd = bad.score + np.mean(shifts), np.std(shifts, ddof=1)
    assert grid.rows[0][1].text == f"{mean:.3f} ± {sd:.3f}"
    assert ("", "±: standard deviation over 3 seeds.") in grid.notes
    assert rf"{mean:.3f} $\pm$ {sd:.3f}" in table_format.to_latex(grid)
    [row, *_] = csv.DictReader(io.StringIO(leaderboard_table.records_csv([group])))
    assert float(row["sd"]) == pytest.approx(sd, rel=1e-12) and row["seeds"] == "3"
    single = leaderboard_table.build_table([bad])
    assert "±" not in single.rows[0][1].text + str(single.notes)


def test_shares_in_percent_and_losses_as_they_are(store):
    found = entries(store, "one", "two")
    grid = leaderboard_table.build_table(found, percent=True)
    assert grid.columns == ("embedding", "one, accuracy (%)", "two, log-loss ↓")
    own = {row[0].text: row for row in grid.rows}
    plain = {row[0].text: row for row in leaderboard_table.build_table(found, digits=9).rows}
    for name in ("good", "bad"):
        numbers = [float(x) for x in re.findall(r"[\d.]+", plain[name][1].text)]
        in_percent = [f"{100 * number:.1f}" for number in numbers]
        assert re.findall(r"[\d.]+", own[name][1].text) == in_percent
        losses = [float(x) for x in re.findall(r"[\d.]+", plain[name][2].text)]
        assert re.findall(r"[\d.]+", own[name][2].text) == [f"{loss:.3f}" for loss in losses]
    assert own["A & B (published)"][1].text == "87.6"  # 0.8765, as Python rounds it
    assert own["A & B (published)"][2].text == "0.876"
    grid = leaderboard_table.build_table(found, percent=True, digits=0, intervals=False)
    assert re.fullmatch(r"\d+", grid.rows[0][1].text)


def test_every_share_is_from_0_to_1_and_nothing_else_is_called_one():
    rng = np.random.default_rng(0)
    single = rng.integers(0, 4, 200)
    multi = np.maximum(np.eye(4, dtype=int)[single], rng.integers(0, 2, (200, 4)))
    for metric in [*metrics.METRICS.values(), metrics.get_metric("top-2")]:
        kind = metric.targets[0]
        targets = {"single": single, "multi": multi, "regression": rng.normal(size=(200, 4))}[kind]
        perfect = np.eye(4)[single] if kind == "single" else targets.astype(float)
        worst = 30 * rng.normal(size=(200, 4)) if kind == "regression" else 1 - perfect
        scores = [metric.score(targets, s) for s in (perfect, worst)]
        share = max(scores) == pytest.approx(1) and min(scores) >= 0 and metric.higher_is_better
        assert leaderboard_table.ScoreFormat(percent=True).in_percent(metric.name) == share, metric


def test_rows_can_have_other_names(store):
    found = entries(store, "one")
    names = ["good=Our network", "A & B (published)=Baseline [3]"]
    grid = leaderboard_table.build_table(found, rename=names)
    assert {row[0].text for row in grid.rows} == {"Our network", "alike", "bad", "Baseline [3]"}
    rows = list(csv.DictReader(io.StringIO(leaderboard_table.records_csv(found, names))))
    assert [r["embedding"] for r in rows if r["source"] == "S, 2020"] == ["Baseline [3]"]
    # a name of the row may hold the sign that ends it
    labeled = [replace(group, label=f"{group.label}:pool=mean") for group in found]
    grid = leaderboard_table.build_table(labeled, rename=["good:pool=mean=a=b"])
    assert "a=b" in {row[0].text for row in grid.rows}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("goood=x", "unknown row 'goood'. Did you mean 'good'"),
        ("good", "NAME=TEXT"),
        ("good=", "--rename good=: a row must have a name"),
        ("good=bad", "two rows would be called 'bad'"),
    ],
)
def test_names_that_cannot_be(store, name, words):
    for make in (leaderboard_table.build_table, leaderboard_table.records_csv):
        with pytest.raises(ProbekitError, match=re.escape(words)):
            make(entries(store, "one"), rename=[name])


def test_what_cannot_be_tested_says_so(store):
    found = entries(store, "one")
    # other classes: as if the task had changed in between
    changed = tuple({**r, "classes": ["p", "r"], "run": "0" * 64} for r in found[0].results)
    grid = leaderboard_table.build_table([replace(found[0], results=changed), *found[1:]])
    assert any("not tested against the best" in text for _, text in grid.notes)


def test_records_have_the_numbers_to_the_last_digit(store):
    found = entries(store, "one")
    rows = list(csv.DictReader(io.StringIO(leaderboard_table.records_csv(found))))
    scores = {row["embedding"]: float(row["score"]) for row in rows if row["source"] == "here"}
    assert scores == {one.label: one.score for one in found}
    assert {row["runs"] for row in rows if row["source"] == "here"} == {
        one.results[0]["run"] for one in found
    }
    assert [row["embedding"] for row in rows if row["source"] == "S, 2020"] == ["A & B"]
    marks = {row["embedding"]: row["mark"] for row in rows if row["source"] == "here"}
    top, tests = comparison.compare_with_best(found)
    expected = {one.second: one.verdict.replace("first", "worse") for one in tests}
    assert marks == {top.label: "best", **expected}
    assert "not distinguishable" in marks.values()  # never "same"
