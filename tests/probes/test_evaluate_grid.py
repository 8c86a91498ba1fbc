"""Many runs at once: kept one by one, not computed twice, and the same however they are spread."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from probekit.cache import import_export
from probekit.data import manifest as manifests
from probekit.errors import CacheError, ProbekitError
from probekit.metrics import bootstrap
from probekit.probes.evaluate import evaluate as run_evaluate
from probekit.probes.probe_run import ProbeRun
from probekit.scores import store

QUICK = "sklearn.naive_bayes:GaussianNB"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two embeddings of sixty clips; the second lacks the last ten."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 50)
    rng = np.random.default_rng(0)
    rows = [
        {"clip_id": f"c{k}", "path": f"{k}.wav", "labels": (f"{k // 3 % 3}",), "fold": str(k % 3)}
        for k in range(60)
    ]
    clips = manifests.from_rows("mine", rows)
    clips.write(tmp_path / "mine.csv")

    def embed(name, count=60):
        np.save(
            tmp_path / "x.npy", rng.normal(size=(count, 3)) + np.eye(3)[clips.targets()[:count]]
        )
        some = clips.subset(range(count))
        arrays = [tmp_path / "x.npy"]
        import_export.import_arrays(name, some, arrays, cache=tmp_path / "cache", dataset="mine")

    embed("a")
    embed("b", 50)

    def evaluate(*names, **others):
        usual = {"cache": tmp_path / "cache", "reports": tmp_path / "reports", "probe": QUICK}
        return run_evaluate(str(tmp_path / "mine.csv"), names or ["a"], **{**usual, **others})

    return SimpleNamespace(
        evaluate=evaluate, embed=embed, reports=tmp_path / "reports", root=tmp_path
    )


@pytest.fixture
def computed(monkeypatch):
    """The runs that were computed."""
    made, compute = [], ProbeRun.compute
    monkeypatch.setattr(
        ProbeRun, "compute", lambda own, *a: made.append(own.label) or compute(own, *a)
    )
    return made


def files(place):
    return {path.name for path in place.reports.rglob("*.json")}


GRID = {"fractions": (0.5, 1.0), "seeds": 2}


def test_a_grid_is_embeddings_by_fractions_by_seeds(place):
    found = place.evaluate("a", "b", **GRID)
    assert [(r["embedding"], r["fraction"], r["seed"]) for r in found] == [
        ("a", 0.5, 0),
        ("a", 0.5, 1),
        ("a", 1.0, 0),  # nothing is random
        ("b", 0.5, 0),
        ("b", 0.5, 1),
        ("b", 1.0, 0),
    ]
    assert len(files(place)) == 6
    assert len({r["run"] for r in found}) == 6


def test_seeds_where_the_probe_is_random(place, small_mlp):
    found = place.evaluate(probe="mlp", seeds=2)
    assert [r["seed"] for r in found] == [0, 1]
    assert len(place.evaluate(probe="knn", seeds=2)) == 1


def test_an_interrupted_grid_goes_on(place, computed, monkeypatch):
    grid = {"fractions": (0.5,), "seeds": 2}
    whole = place.evaluate("a", "b", **grid, reports=place.root / "at once")
    computed.clear()
    compute = ProbeRun.compute

    def stop(own, *others):
        if len(computed) == 2:
            raise KeyboardInterrupt
        return compute(own, *others)

    with monkeypatch.context() as patch:
        patch.setattr(ProbeRun, "compute", stop)
        with pytest.raises(KeyboardInterrupt):
            place.evaluate("a", "b", **grid)
    assert len(files(place)) == len(store.load_results(place.reports)) == 2
    done = {path.name: path.read_bytes() for path in place.reports.rglob("*.json")}
    found = place.evaluate("a", "b", **grid)
    assert len(computed) == 4
    assert all((place.reports / "results/mine" / name).read_bytes() == done[name] for name in done)
    assert [r["score"] for r in found] == [r["score"] for r in whole]


def test_a_fault_in_one_run_keeps_those_before_it(place, monkeypatch):
    compute = ProbeRun.compute

    def fail(own, *others):
        if own.label == "b":
            raise ProbekitError("no")
        return compute(own, *others)

    monkeypatch.setattr(ProbeRun, "compute", fail)
    with pytest.raises(ProbekitError, match="no"):
        place.evaluate("a", "b")
    assert [r["embedding"] for r in store.load_results(place.reports)] == ["a"]


def test_what_is_there_is_not_computed_again(place, computed):
    first = place.evaluate("a", "b")
    assert place.evaluate("b", "a") == first[::-1]
    assert computed == ["a", "b"]
    place.evaluate("b", again=True)
    assert computed == ["a", "b", "b"]


def test_what_is_asked_for_twice_is_computed_once(place, computed):
    one, other = place.evaluate("a", "a")
    assert one == other and computed == ["a"]


def test_a_result_without_its_predictions_is_computed_again(place, computed):
    place.evaluate()
    (arrays,) = place.reports.rglob("*.h5")
    arrays.unlink()
    place.evaluate()
    assert computed == ["a", "a"] and arrays.exists()


def test_a_result_of_an_older_version_is_computed_again(place, computed):
    (first,) = place.evaluate()
    (path,) = place.reports.rglob("*.json")
    path.write_text(json.dumps({**first, "format": 1}))
    assert place.evaluate()[0]["score"] == first["score"]
    assert computed == ["a", "a"]


def content(reports):
    """What is kept, without when and how long."""
    found = {}
    for path in sorted(reports.rglob("*.json")):
        result = json.loads(path.read_text())
        del result["created"], result["seconds"]
        with h5py.File(path.with_suffix(".h5")) as file:
            arrays = {}
            file.visititems(
                lambda name, item, arrays=arrays: (
                    arrays.update({name: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else 0
                )
            )
        found[path.name] = result, arrays
    return found


def test_two_processes_keep_the_same_as_one(place, monkeypatch):
    monkeypatch.undo()  # other processes have the usual number of resamples
    ticks = []
    common = {"probe": "sklearn.svm:SVC:C=0.1|1", "fractions": (0.6, 1.0)}
    place.evaluate("a", "b", **common, reports=place.root / "one")
    place.evaluate("a", "b", **common, jobs=2, progress=lambda *own: ticks.append(own))
    assert ticks == [("runs", k, 4) for k in range(5)]
    one, two = content(place.root / "one"), content(place.reports)
    assert len(one) == 4 and one == two


def test_clips_that_an_embedding_lacks_are_counted(place):
    one, other, both = place.evaluate("a", "b", "a+b")
    assert [(r["clips"]["used"], r["clips"]["of"]) for r in (one, other, both)] == [
        (60, 60),
        (50, 60),
        (50, 60),
    ]
    assert "50 of 60 clips" in both["provenance"] and both["dim"] == 6
    assert [s["extractor"] for s in both["sources"]] == ["a", "b"]


def test_two_caches_of_one_name_are_refused_until_one_is_named(place):
    place.evaluate("a")
    place.embed("a")
    with pytest.raises(CacheError, match=r"a@[0-9a-f]{8}.*a@[0-9a-f]{8}|(?s:a@.*a@)"):
        place.evaluate("a")
    (result,) = place.evaluate(
        f"a@{store.load_results(place.reports)[0]['sources'][0]['fingerprint'][:8]}"
    )
    assert result["embedding"] == "a" and len(files(place)) == 1


def test_a_preset_has_its_own_probe(place):
    with pytest.raises(
        ProbekitError, match="--preset hear sets the probe itself; leave out --probe knn"
    ):
        place.evaluate(preset="hear", probe="knn")
    with pytest.raises(
        ProbekitError, match="--preset kumar2021: no preset for a; available: talnet, weanet"
    ):
        place.evaluate(preset="kumar2021", probe="linear")


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"fractions": (0.5, 1.5)}, "--fraction must be > 0 and <= 1, got 1.5"),
        ({"seeds": 0}, "--seeds must be >= 1, got 0"),
        ({"probe": "lineer"}, "unknown probe 'lineer'"),
        ({"solver": "adam"}, "unknown solver 'adam'"),
        ({"fractions": (0.01,), "probe": "knn"}, "no class has two training clips"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_kept(place, others, words):
    with pytest.raises(ProbekitError, match=words):
        place.evaluate(**others)
    assert not files(place)
