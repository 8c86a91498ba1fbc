"""What all tests share: temp folders instead of the user's, a tiny corpus, the command line."""

import hashlib
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).parent.parent
FOLDERS = ("HOME", "CACHE", "REPORTS")
LABELS = ("click", "noise", "tone")


@pytest.fixture(scope="session", autouse=True)
def _private_session(tmp_path_factory):
    """Fixtures of a wider scope than a test must not touch the user's folders either."""
    patch = pytest.MonkeyPatch()
    base = tmp_path_factory.mktemp("probekit")
    for name in FOLDERS:
        patch.setenv(f"PROBEKIT_{name}", str(base / name.lower()))
    patch.setenv("PROBEKIT_CARDS", "")
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _private(monkeypatch, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    for name in FOLDERS:
        folder = base / f"{name.lower()}-{os.urandom(6).hex()}"
        monkeypatch.setenv(f"PROBEKIT_{name}", str(folder))
    monkeypatch.setenv("PROBEKIT_CARDS", "")
    monkeypatch.delenv("COLUMNS", raising=False)  # width of tables, which some runners set


@contextmanager
def _few_settings():
    """Choose C among three values instead of twelve."""
    from probekit.analysis import class_weights
    from probekit.probes import linear

    grid = (0.01, 0.1, 1.0)
    defaults = {k: f.default for k, f in linear.Linear.__dataclass_fields__.items()}
    with pytest.MonkeyPatch.context() as patch:
        values = tuple({**defaults, "grid": grid}.values())
        patch.setattr(linear.Linear.__init__, "__defaults__", values)
        patch.setattr(class_weights, "GRID", grid)
        yield


@pytest.fixture(scope="session")
def few_settings():
    """Return a context in which linear probes choose among few values of C."""
    return _few_settings


@pytest.fixture
def small_grid(few_settings):
    """Let linear probes choose among few values of C: for tests that are not about the choice."""
    with few_settings():
        yield


@contextmanager
def _few_neighbors():
    """Choose among three numbers of neighbors instead of eight."""
    from probekit.probes import knn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "COUNTS", (1, 5, 20))
        yield


@pytest.fixture(scope="session")
def few_neighbor_counts():
    """Return a context in which the nearest-neighbor probe chooses among few numbers of them."""
    return _few_neighbors


@pytest.fixture
def few_neighbors(few_neighbor_counts):
    """Let the nearest-neighbor probe choose among few numbers of neighbors."""
    with few_neighbor_counts():
        yield


class WriteHook:
    """Calls a function with the name of each point that an atomic write passes.

    Call it with a function for this process; :meth:`source` is for scripts of another process.
    """

    def __init__(self, patch):
        self._patch = patch

    def __call__(self, function):
        self._patch.setattr("probekit.utils.atomic._test_hook", function)

    @contextmanager
    def during(self, function):
        """Call a function at each point within a block."""
        with self._patch.context() as patch:
            patch.setattr("probekit.utils.atomic._test_hook", function)
            yield

    @staticmethod
    def source(code):
        """Return code that defines ``at_point(point)``, and what installs it."""
        return f"{code}\nfrom probekit.utils import atomic\natomic._test_hook = at_point\n"


@pytest.fixture
def write_hook(monkeypatch):
    return WriteHook(monkeypatch)


@pytest.fixture(scope="session")
def shared():
    """Reference data beside the repository; not part of it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not on this machine ({folder})")
    return folder


def sound(label, number, seconds, rate):
    """One sound of a label; a number gives the same samples each time."""
    rng = np.random.default_rng([number, len(label)])
    time = np.arange(round(seconds * rate)) / rate
    wave = {
        "click": (np.arange(len(time)) % (rate // (8 + number)) == 0) * 0.9,
        "noise": rng.uniform(-0.5, 0.5, len(time)),
        "tone": 0.5 * np.sin(2 * np.pi * 110 * (number + 2) * time),
    }[label]
    return wave + rng.uniform(-1e-3, 1e-3, len(time))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder of 24 clips, 8 for each of 3 labels, of mixed formats, rates and channels.

    It is shared: copy it before changing anything.
    """
    root = tmp_path_factory.mktemp("corpus") / "tiny"
    kinds = [
        ("wav", "PCM_16", 22050, 1),
        ("flac", "PCM_16", 44100, 2),
        ("wav", "FLOAT", 16000, 1),
        ("wav", "PCM_24", 22050, 2),
    ]
    for label in LABELS:
        (root / label).mkdir(parents=True)
        for number in range(8):
            suffix, subtype, rate, channels = kinds[number % 4]
            wave = sound(label, number, 0.2 + 0.05 * number, rate)
            wave = wave if channels == 1 else np.stack([wave, 0.5 * wave[::-1]], axis=1)
            soundfile.write(root / label / f"{label}{number}.{suffix}", wave, rate, subtype)
    return root


@pytest.fixture
def cli():
    """Run ``probekit`` as a user does: in a process of its own."""

    def run(*arguments, cwd=None, code=None, **environment):
        """``code`` is Python to run instead, before which nothing is imported."""
        start = ["-c", code] if code else ["-m", "probekit"]
        done = subprocess.run(
            [sys.executable, *start, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return SimpleNamespace(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    return run


@pytest.fixture
def main(monkeypatch, capsys):
    """Run ``probekit`` in this process: faster, and as good where nothing is killed."""

    def run(*arguments):
        from probekit import cli

        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["probekit", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


@pytest.fixture
def songs():
    """A task whose dataset is called songs."""
    from probekit.cards import Protocol, TaskCard

    return TaskCard(
        name="song-tags",
        title="",
        dataset="songs",
        module="table",
        protocol=Protocol(kind="folds"),
        metric="accuracy",
    )


@pytest.fixture
def teach():
    """Write a teacher's embeddings of the dataset songs into a cache: features by clip id."""
    from probekit.cache import layout, part
    from probekit.extractors.pooling import pool

    def pooled(frames, dtype):
        return {name: vector.astype(dtype) for name, vector in pool(frames).items()}

    def write(
        cache, name, features, grid=None, *, failed=(), frames=True, buckets=3, also=(), streams=(),
        **changes,
    ):  # fmt: skip
        """``features`` are (time, dim) if there is a grid (hop, first center, window).

        ``also`` names further streams with frames; ``streams`` those of the card.
        """
        identity = {"extractor": name, "params": {}, "weights": {}, **changes}
        fingerprint = hashlib.sha256(repr(identity).encode()).hexdigest()
        dtype = str(next(iter(features.values())).dtype)
        folder = layout.dataset_folder(cache, name, fingerprint, "songs")
        layout.create_or_load_layout(
            folder,
            layout.Layout(name, fingerprint, identity, "songs", buckets, dtype, [f"by {name}"]),
        )
        facts = {
            "extractor": name,
            "fingerprint": fingerprint,
            "identity": identity,
            "card": {"name": name, "default_stream": "e", "streams": {s: {} for s in streams}},
            "weights": {},
            "precision": "float32",
            "dtype": dtype,
            "provenance": {},
        }
        dim = next(iter(features.values())).shape[-1]
        info = {"kind": "clip", "dim": dim}
        if grid:
            names = ("hop", "first_center", "window")
            info = {"kind": "frames", "dim": dim, **dict(zip(names, grid, strict=True))}
        infos = {"e": info}
        for stream in also:
            infos[stream] = {"kind": "frames", "dim": dim, "hop": "1/2", "first_center": "1/4",
                             "window": "1/2"}  # fmt: skip
        parts = {}
        file_facts = {"start": np.nan, "end": np.nan, "size": 1, "mtime": 1}
        for clip_id in [*features, *failed]:
            number = layout.assign_bucket(clip_id, buckets)
            content = parts.setdefault(number, part.Part(facts, infos))
            if clip_id in failed:
                content.failed[clip_id] = {"reason": "broken", **file_facts}
                continue
            values = features[clip_id]
            arrays = {"clip": values}
            if grid:
                arrays = pooled(values, dtype) | ({"frames": values} if frames else {})
            by_stream = {"e": arrays}
            for stream in also:
                repeated = np.repeat(np.atleast_2d(values)[:1], 40, axis=0)
                by_stream[stream] = pooled(repeated, dtype) | {"frames": repeated}
            sha256 = hashlib.sha256(clip_id.encode()).hexdigest().encode()
            row_facts = {**file_facts, "duration": 1.0, "sha256": sha256}
            content.rows[clip_id] = part.Row(row_facts, by_stream)
        for number, content in parts.items():
            part.write_part(folder / layout.part_name(number), content)
        return folder

    return write


class ResultsStore:
    """A results store: predictions are invented, scores are computed from them."""

    def __init__(self, root):
        self.root = root

    def keep(
        self,
        embedding,
        scores,
        targets,
        fold=None,
        groups=None,
        *,
        target="single",
        metric="accuracy",
        also=(),
        clip_ids=None,
        fold_names=None,
        train=100,
        number="",
        source=None,
        **others,
    ):
        """Save one run; ``others`` are keys of the result. Returns its file."""
        from probekit.scores import predictions, scoring
        from probekit.scores import store as results

        count = len(scores)
        fold = np.zeros(count, int) if fold is None else np.asarray(fold)
        run = predictions.Predictions(
            clip_ids=np.array(clip_ids or [f"c{k}" for k in range(count)]),
            fold=fold,
            folds=tuple(fold_names or [str(k + 1) for k in range(fold.max() + 1)]),
            targets=np.asarray(targets),
            scores=np.asarray(scores, float),
            groups=np.full(count, "") if groups is None else np.asarray(groups),
            target=target,
            probabilities=False,
        )
        classes = [f"class {k}" for k in range(run.scores.shape[1])]
        report = scoring.score_predictions(run, metric, also, classes)
        result = {
            "format": results.FORMAT,
            "task": "mine",
            "title": "Mine",
            "embedding": embedding,
            "sources": [
                {
                    "extractor": embedding.partition(":")[0],
                    "fingerprint": "f" * 64,
                    "identity": {},
                    "stream": "embedding",
                    "pool": ["mean"],
                    "dim": 4,
                    **(source or {}),
                }
            ],
            "dim": 4,
            "probe": "linear",
            "settings": {},
            "steps": ["standardize"],
            "preset": "",
            "fraction": 1.0,
            "seed": 0,
            "protocol": "",
            "target": target,
            "probabilities": False,
            "metric": metric,
            "classes": classes,
            **report,
            "grid": [],
            "solver": {},
            "clips": {"used": count, "of": count, "missing": {}, "missing_count": 0},
            "seconds": {},
            "provenance": [],
            "manifest": "m",
            "versions": {},
            "created": "2026-01-01T00:00:00+00:00",
            "published": [],
            "history": [],
            **others,
        }
        result["folds"] = [
            {
                "fold": name,
                "train": train,
                "test": int((fold == k).sum()),
                "score": report["folds"][k],
                "params": {},
                "at_edge": False,
                "curve": [],
                "selected_on": "",
                "selected_score": None,
                "converged": True,
                "gap": None,
                "iterations": 0,
            }
            for k, name in enumerate(run.folds)
        ]
        facts = {k: str(v) for k, v in result.items()}
        result["run"] = results.run_id({**facts, "number": number})
        path = results.result_path(self.root, result["task"], embedding, result["run"])
        results.save(path, result, run.arrays())
        return path

    def guess(self, embedding, right, fold=None, seed=0, **others):
        """Save a run of two classes that is right for exactly these clips."""
        right = np.asarray(right, bool)
        targets = np.arange(len(right)) % 2
        scores = np.eye(2)[np.where(right, targets, 1 - targets)]
        return self.keep(embedding, scores, targets, fold, seed=seed, **others)


@pytest.fixture
def results_store(tmp_path):
    return ResultsStore(tmp_path / "reports")


@pytest.fixture(scope="session")
def layered():
    """Write embeddings of a network ``net`` with layers into a cache.

    The stream ``whole`` is no layer; the others are layers by their depth. With ``model`` it is a
    model of transformers of this name.
    """
    from probekit.cache import layout, part

    def write(cache, ids, layers, *, absent=(), dataset="mine", depths=True, model=""):
        extractor, params = ("hf", {"model": model}) if model else ("net", {})
        streams = {"whole": np.concatenate(list(layers.values()), axis=1)}
        streams |= {f"block{depth}": values for depth, values in layers.items()}
        card = {
            "name": extractor,
            "default_stream": "whole",
            "streams": {
                name: {"dim": values.shape[1], "kind": "clip"}
                | ({"layer": int(name[5:])} if depths and name != "whole" else {})
                for name, values in streams.items()
            },
        }
        stored = {name: values for name, values in streams.items() if name not in absent}
        identity = {"extractor": extractor, "version": 1, "params": params, "precision": "float32"}
        facts = {"extractor": extractor, "fingerprint": "a" * 64, "identity": identity}
        folder = layout.dataset_folder(cache, extractor, "a" * 64, dataset, model)
        layout.create_or_load_layout(
            folder,
            layout.Layout(**facts, dataset=dataset, buckets=1, dtype="float32", provenance=[]),
        )
        rows = {
            clip_id: part.Row(
                {
                    "start": np.nan,
                    "end": np.nan,
                    "duration": 1.0,
                    "size": 1,
                    "mtime": 1,
                    "sha256": f"{k:064x}".encode(),
                },
                {name: {"clip": values[k].astype("float32")} for name, values in stored.items()},
            )
            for k, clip_id in enumerate(ids)
        }
        grids = {name: {"kind": "clip", "dim": v.shape[1]} for name, v in stored.items()}
        meta = {**facts, "card": card, "weights": {}, "precision": "float32"}
        meta |= {"dtype": "float32", "provenance": {}}
        part.write_part(folder / layout.part_name(0), part.Part(meta, grids, rows, {}))
        return folder

    return write
