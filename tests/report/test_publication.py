"""Folders of results for others: complete, valid, or not there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import probekit
from probekit.cache.import_export import import_arrays
from probekit.cache.layout import cache_root
from probekit.data.manifest import from_rows
from probekit.errors import DataError, ProbekitError, UnknownNameError
from probekit.metrics.metrics import get_metric
from probekit.report import eval_results
from probekit.report.publication import MARKER, publish
from probekit.scores import store
from probekit.utils import atomic


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a task with classes and one with tags, some unknown; of two embeddings."""
    folder = tmp_path_factory.mktemp("published")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    words = np.where(features[:, 0] > 0, "high", "low")
    lines = [f"c{k},{k % 3},{words[k]}" for k in range(60)]
    (folder / "words.csv").write_text("clip_id,fold,label\n" + "\n".join(lines) + "\n")
    cells = [("1", "0")[int(f[1] > 0)] if k % 4 else "" for k, f in enumerate(features)]
    lines = [f"c{k},{k % 3},{cells[k]},{k % 2}" for k in range(60)]
    (folder / "tags.csv").write_text("clip_id,fold,tag:a,tag:b\n" + "\n".join(lines) + "\n")
    np.save(folder / "x.npy", features)
    rows = [{"clip_id": f"c{k}", "path": ""} for k in range(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probekit.probes.knn.COUNTS", (1, 5, 20))
        for name in ("CACHE", "REPORTS"):
            patch.setenv(f"PROBEKIT_{name}", str(folder / name.lower()))
        for name, note in (
            ("free", ""),
            ("bound", "licence cc-by-nc-4.0: non-commercial use only"),
        ):
            for task in ("words", "tags"):
                import_arrays(
                    name,
                    from_rows(task, rows, target="none"),
                    [folder / "x.npy"],
                    cache=cache_root(),
                    dataset=task,
                    note=note,
                )
                probekit.evaluate(str(folder / f"{task}.csv"), name, probe="knn")
    return folder / "reports"


def _digest(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_scores_follow_from_the_published_predictions(reports: Path, tmp_path: Path) -> None:
    published = publish(tmp_path / "out", embeddings=["free"], reports=reports)
    assert published.is_new and published.tasks == ("tags", "words") and published.runs == 2
    results = pd.read_parquet(tmp_path / "out/results.parquet")
    for row in results.itertuples():
        table = pd.read_parquet(tmp_path / f"out/predictions/{row.task}.parquet")
        assert len(table) == 60 and set(table["run"]) == {row.run}
        scores, classes = np.stack(table["scores"]), list(row.classes)
        if row.task == "words":
            targets = np.array([classes.index(label) for label in table["label"]])
            assert [classes[k] for k in scores.argmax(axis=1)] == list(table["predicted"])
        else:
            targets = np.array(
                [[float(c in labels) for c in classes] for labels in table["labels"]]
            )
            unknown = np.array([[c in labels for c in classes] for labels in table["unknown"]])
            assert unknown.sum() == 15
            targets[unknown] = np.nan
        metric = get_metric(row.metric)
        folds = [table["fold"] == fold for fold in row.folds]
        by_fold = [metric.score(targets[rows], scores[rows]) for rows in folds]
        np.testing.assert_array_equal(by_fold, row.fold_scores)
        assert np.mean(by_fold) == row.score and row.low < row.score < row.high
    assert results["licence_audio"].isna().all()
    assert list(results["licence_weights"][0]) == ["not stated"]


def test_readme_and_json_say_where_scores_come_from(reports: Path, tmp_path: Path) -> None:
    published = publish(tmp_path / "out", accept_licence=True, reports=reports)
    assert set(published.files) == set(_digest(tmp_path / "out"))
    readme = (tmp_path / "out/README.md").read_text()
    front = yaml.safe_load(readme.split("---\n")[1])
    for config in front["configs"]:
        assert (tmp_path / "out" / config["data_files"]).is_file()
    results = [json.loads(p.read_text()) for p in (tmp_path / "out/results").rglob("*.json")]
    assert len(results) == 4
    for result in results:
        for text in (result["protocol"], result["manifest"], result["sources"][0]["fingerprint"]):
            assert text in readme
    assert "non-commercial use only" in readme and "choose one before you upload" in readme
    assert "| audio of words | not stated |" in readme
    assert str(reports.parent) not in "".join(map(str, _digest(tmp_path / "out").values()))
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((tmp_path / "out" / f"result-{store.FORMAT}.schema.json").read_text())
    for result in results:
        jsonschema.validate(result, schema)


def test_files_for_model_repositories(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by the hub's own package; scores of imported embeddings are of no model."""
    published = publish(tmp_path / "a", embeddings=["free"], benchmark="lab/x", reports=reports)
    assert not [name for name in published.files if name.endswith(".yaml")]
    [note] = published.notes
    assert note.startswith("no file for a model repository: 2 results of")
    monkeypatch.setattr(eval_results, "_NO_MODEL", ("random weights",))
    publish(tmp_path / "b", embeddings=["free"], benchmark="lab/x", reports=reports)
    folder = tmp_path / "b/model-repositories/free/.eval_results"
    entries = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    assert [entry["dataset"]["task_id"] for [entry] in entries] == ["tags", "words"]
    hub = pytest.importorskip("huggingface_hub")
    results = pd.read_parquet(tmp_path / "b/results.parquet").set_index("task")
    for entry in entries:
        [parsed] = hub.parse_eval_result_entries(entry)
        assert hub.eval_result_entries_to_yaml([parsed]) == entry
        row: Any = results.loc[parsed.task_id]
        assert parsed.value == row["score"] and parsed.dataset_id == "lab/x"
        assert parsed.notes is not None and row["run"][:12] in parsed.notes
        assert "imported embeddings" in parsed.notes


def test_non_commercial_weights_must_be_accepted(reports: Path, tmp_path: Path) -> None:
    with pytest.raises(ProbekitError, match=r"bound: .*cc-by-nc-4\.0.* --accept-licence"):
        publish(tmp_path / "out", reports=reports)
    assert not list(tmp_path.iterdir())
    assert publish(tmp_path / "out", accept_licence=True, reports=reports).runs == 4


def test_same_results_change_nothing_and_others_are_refused(reports: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()  # an empty folder is as good as none
    publish(folder, embeddings=["free"], reports=reports)
    before = _digest(folder)
    again = publish(folder, embeddings=["free"], reports=reports)
    assert not again.is_new and set(again.files) == set(before) and _digest(folder) == before
    with pytest.raises(DataError, match="holds 2 other results, published before"):
        publish(folder, embeddings=["free"], benchmark="lab/x", reports=reports)
    (folder / "README.md").unlink()
    with pytest.raises(DataError, match=r"README\.md is missing, of these results"):
        publish(folder, embeddings=["free"], reports=reports)
    (folder / MARKER).unlink()
    with pytest.raises(DataError, match="holds other files"):
        publish(folder, embeddings=["free"], reports=reports)
    with pytest.raises(DataError, match="is a file"):
        publish(folder / "results.parquet", embeddings=["free"], reports=reports)


def test_nothing_remains_of_an_interrupted_publication(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(point: str) -> None:
        if point == "before-rename":
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_test_hook", stop)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "out", embeddings=["free"], reports=reports)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    killed = atomic.temp_path(tmp_path / "out")
    (killed / "predictions").mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    killed.rename(killed.with_name(killed.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")))
    publish(tmp_path / "out", embeddings=["free"], reports=reports)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ({"tasks": ["birds"]}, DataError, "no results of birds"),
        ({"embeddings": ["vggish"]}, UnknownNameError, "-e vggish: no results; .* bound, free"),
        ({"benchmark": "lab"}, ProbekitError, "--benchmark must be ORGANIZATION/NAME, got 'lab'"),
    ],
)
def test_bad_choices(
    reports: Path, tmp_path: Path, choice: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        publish(tmp_path / "out", reports=reports, **choice)
    assert not list(tmp_path.iterdir())


def test_stand_in_data_are_no_results(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = store.list_results(reports)
    marked = [(path, {**r, "provenance": ["stand-in data"]}) for path, r in listed]
    monkeypatch.setattr(store, "list_results", lambda *_: marked)
    with pytest.raises(DataError, match="was scored on stand-in data"):
        publish(tmp_path / "out", tasks=["words"], reports=reports)


def test_the_current_folder_and_a_link(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is replaced when it is complete: not one that somebody is in; a link stays one."""
    monkeypatch.chdir(tmp_path)
    for name in (".", str(tmp_path)):
        with pytest.raises(DataError, match="is the folder you are in; name a new folder"):
            publish(name, embeddings=["free"], reports=reports)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert publish("link", embeddings=["free"], reports=reports).is_new
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / MARKER).is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]
