"""Analyses to draw, of any size and with names of any kind."""

from types import SimpleNamespace

import numpy as np

from probekit.analysis import clustering
from probekit.analysis.class_differences import ClassDifferences
from probekit.analysis.class_weights import ClassWeights, TrainingClips
from probekit.analysis.confusion import Confusion
from probekit.analysis.cost import Cost, CostPoint
from probekit.analysis.label_efficiency import EfficiencyCurve, EfficiencyPoint, LabelEfficiency
from probekit.analysis.layer_curve import LayerCurve, Layers
from probekit.analysis.similarity import Similarity
from probekit.analysis.timeline import Timeline
from probekit.scores.groups import RunGroup

LONG = "W" * 200 + " {}"


def class_weights(matrix, names, provenance=("random weights",), embedding="made:stream=last"):
    return ClassWeights(
        matrix=matrix,
        names=tuple(names),
        task="mine",
        embedding=embedding,
        space="embedding",
        c=0.1,
        clips=100,
        converged=True,
        fingerprint="f" * 64,
        manifest="m" * 64,
        provenance=tuple(provenance),
    )


def training_clips(matrix):
    """Clips of random embeddings and labels, as if weights had been fitted to them."""
    classes, dim = matrix.shape
    clips = max(60, 2 * classes)
    return TrainingClips(
        features=np.random.default_rng(1).normal(size=(clips, dim)).astype(np.float32),
        targets=np.arange(clips) % max(2, classes),
        groups=np.full(clips, ""),
        coef=matrix,
        scale=1.0,
        has_weights=np.ones(classes, bool),
        c=0.01,
    )


def entry(label="made", score=0.5, **others):
    result = {
        "task": "mine",
        "metric": "accuracy",
        "embedding": label,
        "run": "0" * 64,
        "seed": 0,
        "probe": "linear",
        "settings": {},
        "steps": [],
        "preset": "",
        "fraction": 1.0,
        "folds": [{}],
        "sources": [{"fingerprint": "f" * 64}],
        "manifest": "m",
        "score": score,
        "interval": {"low": score - 0.04, "high": score + 0.04},
        "provenance": ["random weights"],
        **others,
    }
    return RunGroup(label, (result,), ())


def similar(count, names="embedding {}"):
    own = np.random.default_rng(0).uniform(0, 1, (count, count))
    matrix = np.triu(own, 1) + np.triu(own, 1).T + np.eye(count)
    return Similarity(
        matrix=matrix,
        names=tuple(names.replace("{}", str(k)) for k in range(count)),
        tree=clustering.linkage_tree(1 - matrix[np.triu_indices(count, 1)]),
        measure="cka",
        choices={"debiased": False, "normalize": "none"},
        dims=(4,) * count,
        chance=0.1 * matrix,
        groups=0,
        clips=90,
        common=90,
        expected=90,
        origin={"task": "mine"},
        provenance=("random weights",),
        name="similarity-cka-mine",
    )


def confused(classes, names="class {}"):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.3, (classes, classes)) + 20 * np.eye(classes, dtype=int)
    named = tuple(names.replace("{}", str(k)) for k in range(classes))
    return Confusion(counts, named, tuple(range(classes))[::-1], "clusters", entry())


def differing(classes, metric="accuracy", names="class {}", spread=0.5, marks=True):
    rng = np.random.default_rng(0)
    value = rng.uniform(-spread, spread, classes)
    return ClassDifferences(
        names=tuple(names.replace("{}", str(k)) for k in range(classes)),
        scores=np.stack([0.5 + value / 2, 0.5 - value / 2], axis=1),
        difference=value,
        low=value - 0.1,
        high=value + 0.1,
        units=np.full(classes, 20),
        p=np.where(np.abs(value) > 0.2, 0.001, 0.5),
        adjusted=np.where((np.abs(value) > 0.2) & marks, 0.01, 1.0),
        correction="holm",
        metric=metric,
        first=entry("openl3:content=music,input=mel256,size=6144 / 10 % of labels"),
        second=entry("talnet:stream=gru,pool=mean+max"),
        clips=200,
        default_metric=True,
        exact=True,
    )


def efficient(lines, seeds=3, name="embedding {}"):
    rng = np.random.default_rng(0)
    made = []
    for k in range(lines):
        points = [
            EfficiencyPoint(
                share, 7000 * share, tuple(0.5 + 0.02 * k + 0.1 * rng.uniform(size=seeds)), entry()
            )
            for share in (0.01, 0.1, 1.0)
        ]
        made.append(EfficiencyCurve(name.replace("{}", str(k)), tuple(points)))
    return LabelEfficiency("mine", "accuracy", tuple(made[::-1]), ())


def priced(names=6, probes=("linear",), costs=("parameters", "gflop", "seconds")):
    rng = np.random.default_rng(0)
    points = []
    for k in range(names):
        own = {kind: float(10 ** rng.uniform(0, 4)) for kind in costs}
        if k == 0:
            own["parameters"] = 0.0
        for probe in probes:
            label = f"embedding {k}" + (f" / {probe}" if probe != "linear" else "")
            points.append(CostPoint(entry(label, rng.uniform(0.4, 0.9), probe=probe), own, "cpu"))
    points.sort(key=lambda point: -point.group.score)
    return Cost("mine", "accuracy", tuple(points), ("a note",))


def over_time(seconds=20.0, hop=0.1, classes=0, top=10, names="class {}"):
    rng = np.random.default_rng(0)
    time = round(seconds / hop)
    return Timeline(
        frames=rng.normal(size=(time, 128)).astype(np.float32),
        times=hop / 2 + hop * np.arange(time),
        hop=hop,
        window=2 * hop,
        scores=rng.uniform(size=(time, classes)) if classes else None,
        classes=tuple(names.replace("{}", str(k)) for k in range(classes)),
        top=top,
        clip_id="a clip",
        task="mine",
        embedding="made",
        stream="seq",
        origin={"task": "mine"},
        provenance=("random weights",),
    )


def layers(depths, learned):
    """Scores of networks with so many layers."""
    rng = np.random.default_rng(0)
    curves = []
    for k, count in enumerate(depths):
        names = [str(depth) for depth in range(count)]
        weights = dict(zip(names, rng.dirichlet(np.ones(count)), strict=True))
        runs = [entry("layer", score) for score in rng.uniform(0.6, 0.8, count)]
        auto = entry("auto", 0.75, settings={"layers": {"among": names}})
        weighted = entry("learned", 0.7, solver={"layer_weights": weights}) if learned else None
        price = SimpleNamespace(difference=0.01, low=-0.01, high=0.03, p=0.2, verdict="first")
        curves.append(
            LayerCurve(f"network-{k}:size=512", tuple(f"layer.{n}" for n in names),
                       tuple(range(count)), tuple(runs), auto, weighted, price)
        )  # fmt: skip
    return Layers("mine", "accuracy", "linear", tuple(curves))
