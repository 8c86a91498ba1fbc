"""Layers of networks: scores by depth, the layer selected without test clips, learned weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probekit.analysis.base import as_sentence, filename_stem
from probekit.cache.embeddings import find_layers
from probekit.cache.layout import cache_root
from probekit.cards.selector import EmbeddingSelector, parse_selectors
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.probes.evaluate import Progress, evaluate
from probekit.scores import store
from probekit.scores.comparison import Comparison, compare_all
from probekit.scores.groups import (
    RunGroup,
    collect_provenance,
    common_metric,
    group_runs,
    load_groups,
    provenance_dict,
)
from probekit.scores.store import Result
from probekit.tasks.task_clips import resolve_clips


@dataclass(frozen=True)
class LayerCurve:
    """Scores of one network's layers.

    Attributes
    ----------
    label : str
        The network, as after ``-e``.
    streams : tuple of str
        Stream of each layer, by depth.
    depths : tuple of int
        Depth of each layer.
    layers : tuple of RunGroup
        Runs of each layer.
    auto : RunGroup
        Runs whose layer was selected on held-out training or validation clips.
    learned : RunGroup or None
        Runs with learned weights of layers.
    price : Comparison
        The layer with the best score on the test clips, against ``auto``.
    """

    label: str
    streams: tuple[str, ...]
    depths: tuple[int, ...]
    layers: tuple[RunGroup, ...]
    auto: RunGroup
    learned: RunGroup | None
    price: Comparison

    @property
    def groups(self) -> list[RunGroup]:
        """All runs."""
        return [*self.layers, self.auto, *([self.learned] if self.learned else [])]

    @property
    def best(self) -> int:
        """Index of the layer with the best score on the test clips, the first of equal ones."""
        higher = store.higher_is_better(self.auto.results[0])
        scores = [group.score if higher else -group.score for group in self.layers]
        return int(np.argmax(scores))

    @cached_property
    def selected(self) -> dict[str, int]:
        """Number of folds (of all seeds) that selected each layer, by its name in the settings."""
        folds = [fold for result in self.auto.results for fold in result["folds"]]
        counts = Counter(str(fold["params"]["layer"]) for fold in folds)
        names = [str(name) for name in self.auto.results[0]["settings"]["layers"]["among"]]
        return {name: counts[name] for name in names}

    @cached_property
    def weights(self) -> list[float] | None:
        """Learned weight of each layer, mean over folds."""
        if self.learned is None:
            return None
        rows = [list(r["solver"]["layer_weights"].values()) for r in self.learned.results]
        return [float(value) for value in np.mean(rows, axis=0)]


@dataclass(frozen=True)
class Layers:
    """Scores of the layers of one or more networks on a task.

    Attributes
    ----------
    task, metric : str
        Task and metric.
    probe : str
        Kind of probe, as after ``--probe``.
    curves : tuple of LayerCurve
        One a network.
    """

    task: str
    metric: str
    probe: str
    curves: tuple[LayerCurve, ...]

    @property
    def groups(self) -> list[RunGroup]:
        """All runs."""
        return [group for curve in self.curves for group in curve.groups]

    @property
    def provenance(self) -> tuple[str, ...]:
        """Notes that every figure must show."""
        return collect_provenance(self.groups)

    @property
    def name(self) -> str:
        """Stem of the files."""
        labels = [curve.label for curve in self.curves]
        return filename_stem("layers", self.task, *labels, probe=(self.probe, "linear"))

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        title = metrics.get_metric(self.metric).title
        labels = ", ".join(curve.label for curve in self.curves)
        learned = any(curve.learned for curve in self.curves)
        weights = (
            " Learned: a linear probe on a weighted sum of the layers; its weights (mean over "
            "folds) are below."
            if learned
            else ""
        )
        return (
            f"{title[:1].upper()}{title[1:]} on {self.task} by layer of {labels} ({self.probe} "
            "probe), with 95 % intervals. Selected: the layer is chosen together with the probe's "
            f"settings on held-out training or validation clips, never on test clips.{weights}"
            f"{''.join(self._describe(curve) for curve in self.curves)}"
            f"{as_sentence(self.provenance)}"
        )

    def _describe(self, curve: LayerCurve) -> str:
        """Return what choosing a layer of a network costs, as a sentence that can follow others."""
        price, best = curve.price, curve.best
        chosen = ", ".join(f"{name} ({n})" for name, n in curve.selected.items() if n)
        distinct = "not distinguishable" if "not" in price.verdict else "they differ"
        return (
            f" {curve.label}: selected {curve.auto.score:.3f} (layers by number of folds: "
            f"{chosen}). The best of its {len(curve.layers)} layers on the test clips is "
            f"{curve.depths[best]}, {curve.layers[best].score:.3f}; being chosen on these clips, "
            "it may look better than it is. Price of choosing (this less the selected one): "
            f"{price.difference:+.3f}, 95 % interval {price.low:+.3f} to {price.high:+.3f}, "
            f"p = {price.p:.2g}, {distinct}."
        )

    def facts(self) -> dict[str, Any]:
        """Return runs, metric, and for each network what was chosen and what that costs."""
        choices = [
            {
                "network": curve.label,
                "best_on_test": curve.depths[curve.best],
                "best_score": curve.layers[curve.best].score,
                "selected_score": curve.auto.score,
                "selected_in_folds": curve.selected,
                "price": curve.price.difference,
                "price_low": curve.price.low,
                "price_high": curve.price.high,
                "price_p": curve.price.p,
                "price_test": curve.price.test,
            }
            for curve in self.curves
        ]
        return {
            **provenance_dict(self.groups),
            "metric": self.metric,
            "probe": self.probe,
            "choices": choices,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each layer of each network, and for what uses all of them."""
        rows = []
        for curve in self.curves:
            learned = curve.weights or [float("nan")] * len(curve.layers)
            kinds: list[tuple[str, int | str, str, RunGroup, int | str, float | str]] = [
                ("layer", depth, stream, group, folds, weight)
                for depth, stream, group, folds, weight in zip(
                    curve.depths,
                    curve.streams,
                    curve.layers,
                    curve.selected.values(),
                    learned,
                    strict=True,
                )
            ]
            kinds.append(("selected", "", "", curve.auto, "", ""))
            if curve.learned:
                kinds.append(("learned", "", "", curve.learned, "", ""))
            for kind, depth, stream, group, folds, weight in kinds:
                low, high = group.interval
                rows.append(
                    {
                        "network": curve.label,
                        "kind": kind,
                        "layer": depth,
                        "stream": stream,
                        "score": group.score,
                        "low": low,
                        "high": high,
                        "selected_in_folds": folds,
                        "learned_weight": "" if weight != weight else weight,
                        "runs": " ".join(result["run"][:12] for result in group.results),
                    }
                )
        return rows


def layer_curves(
    task: str,
    networks: Sequence[str],
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    reports: str | Path | None = None,
    probe: str = "linear",
    learned: bool = False,
    seeds: int = 1,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Layers:
    """Score every layer of networks, and compare choosing on test clips with choosing without.

    Stored runs are read; others are computed and stored, as by :func:`probekit.evaluate`.

    Parameters
    ----------
    task : str
        As for :func:`probekit.evaluate`.
    networks : sequence of str
        Embeddings in the cache, with parameters and poolings but without stream or layer.
    cache, root, reports : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    probe : str
        A probe that can select a layer.
    learned : bool
        Whether learned weights of layers are computed; stored ones are shown in any case.
    seeds, jobs : int >= 1
        As for :func:`probekit.evaluate`.
    progress : callable, optional
        As for :func:`probekit.evaluate`.

    Returns
    -------
    Layers
        To be drawn by :func:`probekit.figures.curves.draw_layers`.

    Raises
    ------
    ProbekitError
        If a network has no layers, they are not in the cache, or a stream is named.
    """
    selectors = [_parse_network(text) for text in dict.fromkeys(networks)]
    folder = cache_root(cache)
    card, _ = resolve_clips(task, folder, root)
    curves = []
    for selector in selectors:
        everything = replace(selector, layer="all")
        names = [str(everything), str(replace(selector, layer="auto"))]
        if learned:
            names.append(str(replace(selector, layer="learned")))
        results = evaluate(
            task,
            names,
            cache=cache,
            root=root,
            reports=reports,
            probe=probe,
            seeds=seeds,
            jobs=jobs,
            progress=progress,
        )
        embeddings, streams = find_layers(folder, everything, card.dataset)
        groups = _group_by_embedding(results, store.reports_root(reports))
        # results name models of hf: and onnx: by the last part of their path
        [auto_label] = [name for name in groups if parse_selectors(name)[0].layer == "auto"]
        short = parse_selectors(auto_label)[0]
        network = str(replace(short, fingerprint=selector.fingerprint, layer=""))
        learned_label = str(replace(short, layer="learned"))
        auto = groups.pop(auto_label)
        weighted = groups.pop(learned_label, None) or _stored(learned_label, auto, reports)
        by_layer = tuple(groups.values())
        depths = tuple(embeddings.layer_depths[name] or 0 for name in streams)
        curve = LayerCurve(network, streams, depths, by_layer, auto, weighted, _NONE)
        [price] = compare_all([by_layer[curve.best], auto])
        curves.append(replace(curve, price=price))
    metric = common_metric([curve.auto for curve in curves])
    return Layers(curves[0].auto.results[0]["task"], metric, probe, tuple(curves))


_NONE: Any = None  # a comparison that is not made yet


def _parse_network(text: str) -> EmbeddingSelector:
    """Return the selector of a network; an error if it names a stream or layer, or is joined."""
    selectors = parse_selectors(text)
    if len(selectors) > 1 or selectors[0].stream or selectors[0].layer not in ("", "all"):
        raise DataError(f"-e {text}: name one network without stream= or layer=; all are scored")
    return replace(selectors[0], layer="")


def _group_by_embedding(results: Sequence[Result], reports: Path) -> dict[str, RunGroup]:
    """Return the runs of each embedding, in order."""
    runs: dict[str, list[tuple[Path, Result]]] = {}
    for result in results:
        name = result["embedding"]
        path = store.result_path(reports, result["task"], name, result["run"])
        runs.setdefault(name, []).append((path, result))
    return {name: group for name, same in runs.items() for group in group_runs(same)}


def _stored(label: str, auto: RunGroup, reports: str | Path | None) -> RunGroup | None:
    """Return the stored runs of an embedding on the same clips and layers, if there are any."""
    first = auto.results[0]
    for group in load_groups(first["task"], reports):
        result = group.results[0]
        same = all(result[key] == first[key] for key in ("manifest", "sources", "metric", "clips"))
        if result["embedding"] == label and result["fraction"] == 1 and same:
            return group
    return None
