"""Leaderboards: what is bold, what has a dagger, what stands in notes."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from probekit.cache import import_export
from probekit.data import manifest as manifests
from probekit.probes import evaluate
from probekit.report import leaderboard_table
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
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    for task, metric in (("one", "accuracy"), ("two", "log-loss")):
        rows = [
            {"clip_id": f"c{k}", "path": f"{k}.wav", "labels": (("p", "q")[k % 2],),
             "fold": f"{k // 2 % 8}"}
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
        evaluate.evaluate(
            str(root / f"{task}.yaml"), names, cache=root / "cache", root=root, reports=root / "out"
        )
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
