"""One run: a task, its embeddings, a probe, a share of the labels, a seed; and what it scored."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.errors import DataError
from probekit.metrics import bootstrap, metrics, per_class
from probekit.metrics.metrics import Metric
from probekit.probes import linear, pretrained_head, subsample
from probekit.probes.base import SelectedModel
from probekit.probes.features import Features
from probekit.probes.registry import FitContext, Head, Linear, Probe
from probekit.scores import scoring, store
from probekit.scores.predictions import Predictions
from probekit.scores.store import Fold, Result
from probekit.tasks import splits
from probekit.tasks.splits import Split

_MISSING_SHOWN = 50


@dataclass(frozen=True)
class ProbeRun:
    """What is asked for; it can travel to another process.

    Attributes
    ----------
    card : TaskCard
        The task.
    features : Features
        The embeddings, and the clips that have them.
    kind : Kind
        The probe.
    steps : tuple of str
        What is done to features first.
    preset : str
        The name of the recipe that chose stream, pooling, steps and probe; empty for none.
    fraction : float
        Share of the training labels.
    seed : int
        Of whatever is random; 0 where nothing is.
    """

    card: TaskCard
    features: Features
    probe: Probe
    steps: tuple[str, ...] = ("standardize",)
    preset: str = ""
    fraction: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raise a DataError if the task's metric does not fit its clips."""
        clips = self.features.clips
        for name in (self.card.metric, *self.card.also):
            metric = metrics.get_metric(name)
            if clips.target not in metric.targets:
                clips.targets()  # says so where there are no labels at all
                raise DataError(
                    f"{self.card.name}: metric {name!r} is for "
                    f"{' or '.join(metric.targets)} targets, the clips have {clips.target}"
                )

    @property
    def label(self) -> str:
        """What people call it: the embedding, and what differs from the usual."""
        words = [self.features.label]
        if self.fraction < 1:
            words.append(f"{100 * self.fraction:g} % of the labels")
        return ", ".join(words)

    @property
    def id(self) -> str:
        """SHA-256 of what goes in."""
        clips, whole = self.features.clips, self.features.all_clips
        return store.run_id(
            {
                "task": self.card.name,
                "protocol": self.card.protocol.model_dump(mode="json", exclude={"description"}),
                "metric": [self.card.metric, *self.card.also],
                "manifest": whole.digest(),
                "clips": store.run_id({"ids": clips.clip_ids}),
                "expected": self.features.expected,
                "features": self.features.digest,
                "provenance": [*self.features.provenance, *self.features.training_digests],
                "probe": {"name": self.probe.name, **self.probe.facts()},
                "steps": list(self.steps),
                "fraction": self.fraction,
                "seed": self.seed,
                "interval": bootstrap.CI_METHOD,
            }
        )

    def path(self, reports: Path) -> Path:
        """Return where the result is, or will be."""
        return store.path_of(reports, self.card.name, self.features.label, self.id)

    @property
    def out_of_core(self) -> bool:
        """Whether features are read block by block: they are large, and the probe can do it."""
        able = isinstance(self.probe, Linear) and self.steps == ("standardize",)
        return able and self.features.out_of_core

    def compute(
        self,
        jobs: int = 1,
        progress: Callable[[int, int], None] | None = None,
        client: Any = None,
    ) -> tuple[Result, dict[str, Any]]:
        """Fit, score, and gather what is kept.

        Parameters
        ----------
        jobs : int >= 1
            Processes that may be used.
        progress : callable, optional
            Called with folds done and folds in all.
        client : distributed.Client, optional
            A Dask cluster, whose workers sum over the features of a run that :attr:`streams`.

        Returns
        -------
        Result
            What a person reads.
        dict of str to numpy.ndarray
            Predictions and the probes' weights.

        Raises
        ------
        DataError
            If a fold cannot be fitted or scored; names it.
        """
        begin = perf_counter()
        clips = self.features.clips
        targets = clips.targets()
        metric = metrics.get_metric(self.card.metric)
        divisions = splits.make_splits(self.card.protocol, clips, self.features.all_clips)
        divisions = [
            subsample.subsample_labels(s, self.fraction, targets, clips, self.seed)
            for s in divisions
        ]
        self._check_defined(divisions, targets, metric)
        job = FitContext(
            features=self._features(),
            targets=targets,
            clips=clips,
            splits=divisions,
            protocol=self.card.protocol,
            metric=metric,
            steps=self.steps,
            seed=self.seed,
            jobs=jobs,
            progress=progress,
            client=client,
        )
        fitted = self._fitted(job)
        fit_seconds = perf_counter() - begin
        rows = np.concatenate([s.test for s in divisions])
        found = Predictions(
            clip_ids=clips.column("clip_id")[rows],
            fold=np.concatenate([np.full(len(s.test), k) for k, s in enumerate(divisions)]),
            folds=tuple(s.name for s in divisions),
            targets=targets[rows],
            scores=np.concatenate(
                [
                    c.probe.scores(job.features[s.test])
                    for s, c in zip(divisions, fitted, strict=True)
                ]
            ),
            groups=clips.column("group")[rows],
            target=clips.target,
            probabilities=fitted[0].probe.probabilities,
        )
        scored = scoring.score_predictions(found, metric.name, self.card.also, clips.names)
        used = np.unique(np.concatenate([np.concatenate([s.train, s.valid, s.test])
                                         for s in divisions]))  # fmt: skip
        final = sum(not c.converged for c in fitted)
        result = Result(
            format=store.FORMAT,
            run=self.id,
            task=self.card.name,
            title=self.card.title,
            embedding=self.features.label,
            sources=self.features.sources,
            dim=int(job.features.shape[1]),
            probe=self.probe.name,
            settings=self.probe.facts(),
            steps=list(self.steps),
            preset=self.preset,
            fraction=self.fraction,
            seed=self.seed,
            protocol=self.card.protocol.description or self.card.protocol.kind,
            target=clips.target,
            probabilities=found.probabilities,
            metric=metric.name,
            classes=list(clips.names),
            score=scored["score"],
            spread=scored["spread"],
            interval=scored["interval"],
            also=scored["also"],
            folds=[
                self._fold(*one) for one in zip(divisions, fitted, scored["folds"], strict=True)
            ],
            per_class=scored["per_class"],
            per_group=scored["per_group"],
            grid=fitted[0].grid,
            solver={
                "name": self.probe.facts().get("solver", self.probe.name),
                "tolerance": linear.CERTIFIED,
                "fits": sum(c.fits for c in fitted),
                "unconverged": sum(c.unconverged for c in fitted),
                "unconverged_final": final,
            },
            clips={
                "used": len(used) if self.fraction == 1 else len(clips),
                "of": self.features.expected,
                "missing": dict(list(self.features.missing.items())[:_MISSING_SHOWN]),
                "missing_count": self.features.expected - len(clips),
            },
            seconds={"fit": fit_seconds, "all": perf_counter() - begin},
            provenance=[
                *self._provenance(divisions, targets, len(used), final, len(fitted)),
                *_constant_feature_notes(job.features),
            ],
            manifest=self.features.all_clips.digest(),
            versions={n: version(n) for n in ("probekit", "numpy", "scipy", "scikit-learn")},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            published=[p.model_dump() for p in self.card.published],
            history=[],
        )
        return result, {**found.arrays(), **_weights(divisions, fitted)}

    @property
    def _by_head(self) -> bool:
        return isinstance(self.probe, Head)

    def _features(self) -> Any:
        """Return what the probe reads: large features block by block where it can."""
        if self._by_head:
            return self._scored()
        return self.features.rows() if self.out_of_core else self.features.matrix()

    def _scored(self) -> Array:
        """Return the scores of the network's own head."""
        [(_, embeddings)] = self.features.members
        clips = self.features.clips
        return pretrained_head.head_scores(
            embeddings, clips.clip_ids, clips.names, self.features.matrix()
        )

    def _fitted(self, job: FitContext) -> list[SelectedModel]:
        if self._by_head:
            [(_, embeddings)] = self.features.members
            return [pretrained_head.passthrough(embeddings) for _ in job.splits]
        return self.probe.choose_all(job)

    def _check_defined(self, divisions: list[Split], targets: Array, metric: Metric) -> None:
        """Raise if a fold cannot be scored, before anything is fitted."""
        for split in divisions:
            even = np.full((len(split.test), len(self.features.clips.names)), 0.5)
            if np.isnan(metric.score(targets[split.test], even)):
                raise DataError(
                    f"{self.card.name}, split {split.name!r}: {metric.title} is not defined on "
                    f"its {len(split.test)} test clips"
                )

    def _fold(self, split: Split, chosen: SelectedModel, score: float) -> Fold:
        return Fold(
            fold=split.name,
            train=len(split.fit_rows(self.card.protocol)),
            test=len(split.test),
            score=score,
            params=chosen.params,
            at_edge=chosen.at_edge,
            curve=chosen.curve,
            selected_on=chosen.selected_on,
            selected_score=_number(chosen.selected_score),
            converged=chosen.converged,
            gap=_number(chosen.gap),
            iterations=chosen.iterations,
        )

    def _provenance(
        self, divisions: list[Split], targets: Array, used: int, final: int, fitted: int
    ) -> list[str]:
        """Return what must be shown beside the score."""
        features = self.features
        said = list(features.provenance)
        tested = np.unique(np.concatenate([split.test for split in divisions]))
        said += features.notes(features.clips.column("clip_id")[tested])
        whole = used if self.fraction == 1 else len(features.clips)
        if whole < features.expected:
            said.append(f"{whole:,} of {features.expected:,} clips")
        if final:
            said.append(f"not converged ({final} of {fitted} probes)")
        if features.clips.target != "regression":
            unseen = sorted(
                {
                    name
                    for s in divisions
                    for name in per_class.unseen_classes(
                        features.clips, targets, s.fit_rows(self.card.protocol), s.test
                    )
                }
            )
            if unseen:
                more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
                said.append(f"never in training: {', '.join(unseen[:5])}{more}")
        return list(dict.fromkeys(said))


def _weights(divisions: list[Split], fitted: list[SelectedModel]) -> dict[str, Array]:
    return {
        f"probe/{split.name.replace('/', '-')}/{name}": values
        for split, chosen in zip(divisions, fitted, strict=True)
        for name, values in chosen.probe.arrays().items()
    }


def _constant_feature_notes(features: Any) -> list[str]:
    """Say that features do not vary, where it is most of those in memory."""
    if not isinstance(features, np.ndarray):
        return []
    still = int((features.min(axis=0) == features.max(axis=0)).sum())
    if still == features.shape[1]:
        return ["no feature varies"]
    many = still > features.shape[1] / 2
    return [f"{still:,} of {features.shape[1]:,} features do not vary"] if many else []


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
