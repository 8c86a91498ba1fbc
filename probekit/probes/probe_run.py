"""One run: a task, its embeddings, a probe, a fraction of the labels and a seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from probekit import cards
from probekit._typing import Array
from probekit.cards import Protocol, TaskCard
from probekit.cards.training_data import training_notes
from probekit.errors import DataError, ProtocolError
from probekit.metrics import intervals, metrics, per_class
from probekit.metrics.metrics import Metric
from probekit.probes import linear, pretrained_head, registry, transforms, zero_shot
from probekit.probes.base import FitContext, FittedProbe, Probe, SelectedModel
from probekit.probes.evaluation_protocols import EvaluationProtocol, fitted_splits, leak_notes
from probekit.probes.features import Features
from probekit.probes.layer_choice import LayerChoice
from probekit.probes.zero_shot import ZeroShot
from probekit.scores import pieces, result_builder, scoring, store
from probekit.scores.store import Fold, Result, Source
from probekit.tasks.piece_names import check_pieces, name_pieces
from probekit.tasks.splits import Split, make_repeated_splits
from probekit.tasks.subsample import draw_facts, draw_shots, subsample_labels
from probekit.utils.text import summarize_ids


@dataclass(frozen=True)
class ProbeRun:
    """A run; can be pickled for another process.

    Attributes
    ----------
    card : TaskCard
        Task.
    features : Features
        Embeddings, and the clips that have them.
    probe : Probe
        Kind of probe.
    steps : tuple of str
        Transforms of the features.
    preset : str
        Paper whose preset chose stream, pooling, steps and probe; empty for none.
    fraction : float
        Fraction of the training labels.
    seed : int
        Random seed; 0 if nothing is random.
    repeats : int >= 1
        How often folds are made, of clips in another order each time.
    shots : int
        Labeled training clips of each class; 0 for the fraction of all.
    rules : EvaluationProtocol, optional
        Another protocol than the task's own; its results are stored apart.
    """

    card: TaskCard
    features: Features
    probe: Probe
    steps: tuple[str, ...] = transforms.STANDARD
    preset: str = ""
    fraction: float = 1.0
    seed: int = 0
    repeats: int = 1
    shots: int = 0
    rules: EvaluationProtocol | None = None

    @property
    def protocol(self) -> Protocol:
        """The task's own protocol, or what the rules of another one make of it."""
        if self.rules is None:
            return self.card.protocol
        return self.rules.of_task(self.card, self.features.clips)

    @property
    def label(self) -> str:
        """Display label: the embedding, and the fraction of labels if it is below 1."""
        words = [self.features.label]
        if self.shots:
            words.append(f"{self.shots} labeled clips a class")
        elif self.fraction < 1:
            words.append(f"{100 * self.fraction:g} % of the labels")
        return ", ".join(words)

    @property
    def id(self) -> str:
        """SHA-256 of everything that determines the result."""
        return store.run_id(
            {
                "task": self.card.name,
                "protocol": self.card.protocol.model_dump(mode="json", exclude={"description"}),
                "metric": [self.card.metric, *self.card.also],
                "manifest": self.features.all_clips.digest(),
                "clips": store.run_id({"ids": self.features.clips.clip_ids}),
                "expected": self.features.expected,
                "features": self.features.digest,
                "provenance": [*self.features.provenance, *self.features.training_digests],
                "probe": {"name": self.probe.name, **self.probe.facts()},
                "steps": list(self.steps),
                "fraction": self.fraction,
                **draw_facts(self.fraction, self.card.protocol),
                "seed": self.seed,
                **({"repeats": self.repeats} if self.repeats > 1 else {}),
                **({"shots": self.shots} if self.shots else {}),
                **pieces.id_facts(self.card),
                **({"rules": self.rules.facts()} if self.rules else {}),
                "interval": intervals.CI_METHOD,
            }
        )

    def path(self, reports: Path) -> Path:
        """Return the file of the result; those of other protocols have a store of their own."""
        root = store.protocol_root(reports, self.rules.name) if self.rules else reports
        return store.result_path(root, self.card.name, self.features.label, self.id)

    @property
    def out_of_core(self) -> bool:
        """Whether features are read block by block: they are large, and the probe supports it."""
        probe = self.probe.inner if isinstance(self.probe, LayerChoice) else self.probe
        supported = isinstance(probe, linear.Linear) and self.steps == transforms.STANDARD
        return supported and self.features.out_of_core

    @property
    def work(self) -> float:
        """Numbers that are read for all folds and their inner divisions, times classes."""
        protocol, clips = self.card.protocol, self.features.clips
        has_folds = protocol.kind in ("folds", "made-folds")
        folds = protocol.folds or (len(set(clips.column("fold"))) if has_folds else 1)
        inner = 1 if "valid" in clips.column("split") else protocol.inner_folds
        dim = sum(source["dim"] for source in self.features.sources)
        fits = self.repeats * folds * inner
        return float(len(clips) * dim * max(1, len(clips.class_names)) * fits)

    def compute(
        self,
        jobs: int = 1,
        progress: Callable[[int, int], None] | None = None,
        client: Any = None,
    ) -> tuple[Result, dict[str, Any]]:
        """Fit and score.

        Parameters
        ----------
        jobs : int >= 1
            Number of processes.
        progress : callable, optional
            Called with the number of finished folds and the total, first with 0.
        client : distributed.Client, optional
            Dask cluster whose workers sum over the features of an :attr:`out_of_core` run.

        Returns
        -------
        Result
            The result.
        dict of str to numpy.ndarray
            Predictions and the probes' weights.

        Raises
        ------
        DataError
            If a fold cannot be fitted or scored; names it.
        """
        start = perf_counter()
        clips = self.features.clips
        targets = clips.targets()
        metric = metrics.get_metric(self.card.metric)
        protocol, splits = self.protocol, self.splits(targets)
        self._check_defined(splits, targets, metric)
        # other protocols divide clips, whatever they are of
        names = None if self.rules else name_pieces(self.card, clips)
        check_pieces(self.card, names, splits)
        if progress:
            progress(0, len(splits))
        context = FitContext(
            features=self._load_features(),
            targets=targets,
            clips=clips,
            splits=splits,
            protocol=protocol,
            metric=metric,
            steps=self.steps,
            seed=self.seed,
            jobs=jobs,
            progress=progress,
            client=client,
            probe=self.probe.name,
            pieces=names,
        )
        models = self._fit(context)
        fit_seconds = perf_counter() - start
        test_scores, own_classes = zip(
            *(
                _score(model.probe, context.features[split.test])
                for split, model in zip(splits, models, strict=True)
            ),
            strict=True,
        )
        predictions = result_builder.join_predictions(
            clips,
            targets,
            splits,
            test_scores,
            probe=self.probe.name,
            probabilities=models[0].probe.probabilities,
            own_classes=own_classes,
            pieces=names,
        )
        scores = scoring.score_predictions(
            predictions, metric.name, self.card.also, clips.class_names
        )
        facts = self.probe.facts()
        unconverged = sum(not model.converged for model in models)
        result = result_builder.build_result(
            self.card,
            clips,
            self.features.all_clips,
            splits,
            scores,
            run=self.id,
            embedding=self.features.label,
            sources=self.features.sources,
            dim=int(context.features.shape[1]),
            probe=self.probe.name,
            settings=facts,
            steps=self.steps,
            preset=self.preset,
            fraction=self.fraction,
            seed=self.seed,
            protocol=self._protocol,
            probabilities=predictions.probabilities,
            folds=[self._fold(*fold) for fold in zip(splits, models, scores["folds"], strict=True)],
            grid=models[0].grid,
            solver={
                "name": facts.get("solver", self.probe.name),
                "tolerance": linear.CERTIFIED,
                "fits": sum(model.fits for model in models),
                "unconverged": sum(model.unconverged for model in models),
                "unconverged_final": unconverged,
                **_layer_weights(models),
            },
            expected=self.features.expected,
            missing=self.features.missing,
            start=start,
            fit_seconds=fit_seconds,
            provenance=[
                *dict.fromkeys(note for model in models for note in model.notes),
                *self._provenance(splits, targets, unconverged),
                *_constant_feature_notes(context.features),
                *pieces.describe(self.card, names, splits),
            ],
            packages=("probekit", "numpy", "scipy", "scikit-learn"),
            history=[],
        )
        if names is not None:
            result["pieces"] = len(predictions.by_piece().clip_ids)
        if self.shots:
            result["shots"] = self.shots
        if self.rules:
            result["published"] = []  # by the task's own protocol
            result["evaluation"] = {
                "protocol": self.rules.name,
                "title": self.rules.title,
                "source": self.rules.source,
                "leaks": leak_notes(self.rules, splits),
            }
        return result, {**predictions.arrays(), **_weights(splits, models)}

    def splits(self, targets: Array) -> list[Split]:
        """Return the splits, with the training clips that are used."""
        clips, all_clips = self.features.clips, self.features.all_clips
        if self.rules:
            return self.rules.splits(self.card, clips, all_clips, self.seed)
        return [
            draw_shots(split, self.shots, targets, clips, self.seed)
            if self.shots
            else subsample_labels(split, self.fraction, targets, clips, self.seed)
            for split in make_repeated_splits(self.card.protocol, clips, all_clips, self.repeats)
        ]

    @property
    def _protocol(self) -> str:
        """The protocol in words."""
        text = self.protocol.description or self.protocol.kind
        return text if self.repeats == 1 else f"{text}, made {self.repeats} times"

    @property
    def _uses_segments(self) -> bool:
        return self.probe.name.partition(":")[0] in registry.OF_FRAMES

    @property
    def _uses_head(self) -> bool:
        return isinstance(self.probe, pretrained_head.Head)

    def _load_features(self) -> Any:
        """Return what the probe reads; large features block by block if it can."""
        if self._uses_segments:
            from probekit.probes import mlp_segments  # imports torch

            return mlp_segments.read_segments(self.features, self.probe.name)
        if isinstance(self.probe, ZeroShot):
            [(_, embeddings)] = self.features.members
            names = self.features.clips.class_names
            return zero_shot.text_scores(self.probe, embeddings, names, self.features.matrix())
        if not self._uses_head:
            return self.features.rows() if self.out_of_core else self.features.matrix()
        [(_, embeddings)] = self.features.members
        clips = self.features.clips
        return pretrained_head.head_scores(
            embeddings, clips.clip_ids, clips.class_names, self.features.matrix()
        )

    def _fit(self, context: FitContext) -> list[SelectedModel]:
        if isinstance(self.probe, ZeroShot):
            return [zero_shot.passthrough() for _ in context.splits]
        if self._uses_head:
            [(_, embeddings)] = self.features.members
            return [pretrained_head.passthrough(embeddings) for _ in context.splits]
        return self.probe.choose_all(context)

    def _check_defined(self, splits: list[Split], targets: Array, metric: Metric) -> None:
        """Raise if a fold cannot be scored, before anything is fitted."""
        if targets.ndim == 2 and not metrics.is_known(targets).any(axis=0).all():
            columns = np.flatnonzero(~metrics.is_known(targets).any(axis=0))
            unknown = [self.features.clips.class_names[k] for k in columns]
            raise DataError(
                f"{self.card.name}: labels that are unknown for all {len(targets):,} clips with an "
                f"embedding: {summarize_ids(unknown)}"
            )
        for split in splits:
            constant = np.full((len(split.test), len(self.features.clips.class_names)), 0.5)
            if np.isnan(metric.score(targets[split.test], constant)):
                kind = ProtocolError if self.rules else DataError
                raise kind(
                    f"{self.card.name}, split {split.name!r}: {metric.title} is not defined on "
                    f"its {len(split.test)} test clips"
                )

    def _fold(self, split: Split, model: SelectedModel, score: float) -> Fold:
        return Fold(
            fold=split.name,
            train=len(split.fit_rows(self.protocol)),
            test=len(split.test),
            score=score,
            params=model.params,
            at_edge=model.at_edge,
            curve=[_finite_or_none(score) for score in model.curve],
            selected_on=model.selected_on,
            selected_score=_finite_or_none(model.selected_score),
            converged=model.converged,
            gap=_finite_or_none(model.gap),
            iterations=model.iterations,
        )

    def _provenance(self, splits: list[Split], targets: Array, unconverged: int) -> list[str]:
        """Return what must be shown beside the score."""
        from probekit.tasks import leakage  # imports pandas

        features, clips = self.features, self.features.clips
        tested = np.unique(np.concatenate([split.test for split in splits]))
        by_rules = leak_notes(self.rules, splits) if self.rules else []
        splits = fitted_splits(splits) if self.rules else splits
        notes = [
            *by_rules,
            *features.provenance,
            *features.notes(clips.column("clip_id")[tested]),
            *_compared_notes(features.sources, self.card.dataset),
            *result_builder.torn_group_notes(clips, splits),
            *leakage.shared_clip_notes(clips, splits, features.recording_hashes),
        ]
        all_labels = self.fraction == 1 and not self.rules
        used = result_builder.count_clips(splits) if all_labels else len(clips)
        if used < features.expected:
            notes.append(f"{used:,} of {features.expected:,} clips")
        if self.rules and self.card.aggregate:
            notes.append(f"scored clip by clip, unlike the task itself: by {self.card.aggregate}")
        notes += result_builder.unknown_label_notes(clips, targets)
        if unconverged:
            notes.append(f"not converged ({unconverged} of {len(splits)} probes)")
        if clips.target != "regression":
            unseen = {
                name
                for split in splits
                for name in per_class.unseen_classes(
                    clips, targets, split.fit_rows(self.protocol), split.test
                )
            }
            if unseen:
                notes.append(per_class.unseen_classes_note(unseen))
        notes += per_class.untested_class_notes(clips, targets, [split.test for split in splits])
        extractors = [(source["extractor"], source["identity"]) for source in features.sources]
        notes += training_notes(extractors, self.card)
        return list(dict.fromkeys(notes))


def _compared_notes(sources: Sequence[Source], dataset: str) -> list[str]:
    """Return the streams whose layers or poolings their authors compared on this dataset."""
    notes = []
    for source in sources:
        name, stream = source["extractor"], source["stream"]
        if name not in cards.card_paths("extractors"):  # imported, or a student
            continue
        info = cards.load_extractor_card(name).streams.get(stream)
        if info and dataset in info.compared_on:
            notes.append(
                f"stream {stream} of {name}: its authors compared layers by scores of this dataset"
            )
    return notes


def _score(probe: FittedProbe, features: Array) -> tuple[Array, Array | None]:
    return probe.scores(features), probe.predictions(features)


def _layer_weights(models: list[SelectedModel]) -> dict[str, Any]:
    """Return the mean over the folds of learned weights of layers, by depth, if there are any."""
    arrays = [model.probe.arrays() for model in models]
    if "layer_weights" not in arrays[0]:
        return {}
    means = np.mean([each["layer_weights"] for each in arrays], axis=0)
    names = [str(name) for name in arrays[0]["layers"]]
    return {"layer_weights": {n: float(w) for n, w in zip(names, means, strict=True)}}


def _weights(splits: list[Split], models: list[SelectedModel]) -> dict[str, Array]:
    return {
        f"probe/{split.name.replace('/', '-')}/{name}": values
        for split, model in zip(splits, models, strict=True)
        for name, values in model.probe.arrays().items()
    }


def _constant_feature_notes(features: Any) -> list[str]:
    """Warn if most features are constant; not checked for features read on demand."""
    if not isinstance(features, np.ndarray):
        return []
    constant = int((features.min(axis=0) == features.max(axis=0)).sum())
    if constant == features.shape[1]:
        return ["no feature varies"]
    if constant > features.shape[1] / 2:
        return [f"{constant:,} of {features.shape[1]:,} features do not vary"]
    return []


def _finite_or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
