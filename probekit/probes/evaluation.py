"""Stage 2: a probe on cached embeddings, scored under the task's own protocol."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit import runtime
from probekit.cache import layout, store
from probekit.cache.store import Embeddings
from probekit.cards import TaskCard
from probekit.errors import DataError
from probekit.manifest import Manifest
from probekit.probes import breakdown, head, linear, results, selection, statistics
from probekit.probes.inputs import clips_of, features_of
from probekit.probes.results import Fold, Result
from probekit.probes.selection import Chosen
from probekit.registry import unknown
from probekit.selection import Selection, parse
from probekit.tasks import metrics, splits
from probekit.tasks.metrics import Metric
from probekit.tasks.splits import Split

Array = npt.NDArray[Any]
Progress = Callable[[str, int, int], None]

PROBES = ("linear", "head")
_MISSING_SHOWN = 50


def evaluate(
    task: str,
    extractors: str | Sequence[str],
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    reports: str | Path | None = None,
    probe: str = "linear",
    solver: str = "probekit",
    jobs: int = 1,
    again: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Probe embeddings for a task.

    Features are standardized on training clips; the probe is an L2-regularized linear model; C is
    chosen on validation clips or inside the training folds, the probe refitted as the task's card
    says, and scored on test clips that nothing else has seen.

    Parameters
    ----------
    task : str
        A task's name, card (YAML) or table (CSV), or the name of a folder that was extracted.
    extractors : str or sequence of str
        Embeddings in the cache: ``"vggish"``, ``"vggish:stream=prerelu,pool=mean+std"``,
        ``"vggish@1a2b3c4d"``.
    cache : str or pathlib.Path, optional
        The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``.
    root : str or pathlib.Path, optional
        The dataset's folder, where its clip table is not in the cache yet. Audio is not needed.
    reports : str or pathlib.Path, optional
        Where results are kept; by default ``PROBEKIT_REPORTS``, else ``reports/out``.
    probe : {"linear", "head"}
        ``head`` fits nothing: it scores the network's own classifier, on a task whose classes are
        among the network's.
    solver : {"probekit", "scikit-learn"}
        What fits the probes. probekit's proves how close each fit came to its minimum;
        scikit-learn's is there to compare with.
    jobs : int >= 1
        Processes; folds are spread over them.
    again : bool
        Compute also what is in the store already.
    progress : callable, optional
        Called with the embedding's name, folds done and folds in all.

    Returns
    -------
    list of Result
        One for each embedding, in the order asked for.

    Raises
    ------
    ProbekitError
        If the task, the embeddings or the clip table are not there or do not fit.
    """
    names = [extractors] if isinstance(extractors, str) else list(extractors)
    for kind, value, known in (("solver", solver, linear.SOLVERS), ("probe", probe, PROBES)):
        if value not in known:
            raise unknown(kind, value, known)
    where = layout.root(cache)
    card, clips = clips_of(task, where, root)
    store_root = results.root(reports)
    found = []
    for name in names:
        chosen = parse(name)
        embeddings = store.find(where, chosen, card.dataset)
        run = _Run.prepare(card, clips, embeddings, chosen, probe, solver)
        path = results.path_of(store_root, card.name, run.label, run.id)
        if path.exists() and not again:
            with suppress(DataError):  # of another format: computed again
                found.append(results.load(path))
                continue
        result, arrays = run.compute(jobs, progress)
        results.save(path, result, arrays)
        found.append(result)
    return found


@dataclass
class _Run:
    """One embedding on one task."""

    card: TaskCard
    embeddings: Embeddings
    chosen: Selection
    features: Array
    clips: Manifest
    whole: Manifest
    missing: dict[str, str]
    expected: int
    manifest: str
    probe: str
    solver: str
    id: str

    @classmethod
    def prepare(
        cls,
        card: TaskCard,
        clips: Manifest,
        embeddings: Embeddings,
        chosen: Selection,
        probe: str,
        solver: str,
    ) -> "_Run":
        metric = metrics.get(card.metric)
        if clips.target != metric.target:
            clips.targets()  # says so where there are no labels at all
            raise DataError(
                f"{card.name}: metric {card.metric!r} is for {metric.target} targets, the clips "
                f"have {clips.target}"
            )
        if probe == "head":
            chosen = _for_head(embeddings, chosen)
        features, present, missing = features_of(embeddings, clips, chosen)
        if probe == "head":
            features = head.scores(embeddings, present.clip_ids, present.names, features)
        digest = clips.digest()
        expected = max(len(clips), clips.expected or 0)
        facts = {
            "task": card.name,
            "protocol": card.protocol.model_dump(mode="json"),
            "metric": card.metric,
            "manifest": digest,
            "clips": results.run_id({"ids": present.clip_ids}),
            "expected": expected,
            # recordings that changed are embedded again under the same fingerprint
            "features": hashlib.sha256(features.data).hexdigest(),
            "provenance": [*clips.provenance, *embeddings.layout.provenance],
            "fingerprint": embeddings.layout.fingerprint,
            "stream": chosen.stream or embeddings.default_stream,
            "pool": chosen.pool,
            "probe": {"name": probe, "version": 1}
            if probe == "head"
            else {"name": probe, "version": 1, "grid": linear.GRID, "solver": solver},
            "seed": card.protocol.seed,
            "interval": [statistics.LEVEL, statistics.RESAMPLES, statistics.SEED],
        }
        return cls(
            card,
            embeddings,
            chosen,
            features,
            present,
            clips,
            missing,
            expected,
            digest,
            probe,
            solver,
            results.run_id(facts),
        )

    @property
    def label(self) -> str:
        return str(
            Selection(
                self.chosen.name, "", self.chosen.params, self.chosen.stream, self.chosen.pool
            )
        )

    @property
    def metric(self) -> Metric:
        return metrics.get(self.card.metric)

    def compute(self, jobs: int, progress: Progress | None) -> tuple[Result, dict[str, Any]]:
        """Fit, score, and gather what is kept."""
        begin = perf_counter()
        divisions = splits.make(self.card.protocol, self.clips, self.whole)
        targets = self.clips.targets()
        self._check_defined(divisions, targets)
        work = partial(_one_split, self.features, targets, self.clips, self.card, self.solver)
        if self.probe == "head":
            jobs, work = 1, partial(_as_it_is, len(self.clips.names))
        fitted: list[Chosen] = []
        for one in runtime.map_units(work, divisions, jobs=min(jobs, len(divisions))):
            fitted.append(one)
            if progress:
                progress(self.label, len(fitted), len(divisions))
        fit_seconds = perf_counter() - begin
        rows = np.concatenate([s.test for s in divisions])
        fold = np.concatenate([np.full(len(s.test), k) for k, s in enumerate(divisions)])
        both = list(zip(divisions, fitted, strict=True))
        each = [c.probe.scores(self.features[s.test]) for s, c in both]
        scores = np.concatenate(each)
        folds = [self._fold(s, c, targets, x) for (s, c), x in zip(both, each, strict=True)]
        groups = self.clips.column("group")[rows]
        own = [one["score"] for one in folds]
        certain = statistics.interval(self.metric, targets[rows], scores, fold, groups)
        unconverged = sum(c.unconverged for c in fitted)
        final = sum(not c.probe.converged for c in fitted)
        used = np.unique(
            np.concatenate([np.concatenate([s.train, s.valid, s.test]) for s in divisions])
        )
        settled = self.embeddings.layout
        result = Result(
            format=results.FORMAT,
            run=self.id,
            task=self.card.name,
            title=self.card.title,
            embedding=self.label,
            extractor=settled.extractor,
            fingerprint=settled.fingerprint,
            identity=settled.identity,
            stream=self.chosen.stream or self.embeddings.default_stream,
            pool=list(self.chosen.pool),
            dim=int(self.features.shape[1]),
            probe=self.probe,
            seed=self.card.protocol.seed,
            protocol=self.card.protocol.description or self.card.protocol.kind,
            metric=self.card.metric,
            classes=list(self.clips.names),
            score=float(np.mean(own)),
            spread=float(np.std(own)),
            interval={
                **asdict(certain),
                "level": statistics.LEVEL,
                "resamples": statistics.RESAMPLES,
                "seed": statistics.SEED,
            },
            folds=folds,
            per_class=breakdown.per_class(self.metric, self.clips, targets[rows], scores, fold),
            per_group=breakdown.per_group(self.metric, targets[rows], scores, groups),
            grid=[] if self.probe == "head" else list(linear.GRID),
            solver={
                "name": self.solver,
                "tolerance": linear.CERTIFIED,
                "fits": sum(c.fits for c in fitted),
                "unconverged": unconverged,
                "unconverged_final": final,
            },
            clips={
                "used": len(used),
                "of": self.expected,
                "missing": dict(list(self.missing.items())[:_MISSING_SHOWN]),
                "missing_count": self.expected - len(used),
            },
            seconds={"fit": fit_seconds, "all": perf_counter() - begin},
            provenance=self._provenance(divisions, targets, len(used), final, len(fitted)),
            manifest=self.manifest,
            versions={n: version(n) for n in ("probekit", "numpy", "scipy", "scikit-learn")},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            published=[p.model_dump() for p in self.card.published],
        )
        return result, self._arrays(divisions, fitted, rows, fold, targets, scores)

    def _check_defined(self, divisions: list[Split], targets: Array) -> None:
        """Raise if a fold cannot be scored, before anything is fitted."""
        for split in divisions:
            nothing = np.zeros((len(split.test), len(self.clips.names)))
            if np.isnan(self.metric.score(targets[split.test], nothing)):
                raise DataError(
                    f"{self.card.name}, split {split.name!r}: {self.metric.title} is not defined "
                    f"on its {len(split.test)} test clips"
                )

    def _fold(self, split: Split, chosen: Chosen, targets: Array, scores: Array) -> Fold:
        return Fold(
            fold=split.name,
            train=len(split.fitted(self.card.protocol)),
            test=len(split.test),
            score=self.metric.score(targets[split.test], scores),
            c=None if np.isnan(chosen.probe.c) else chosen.probe.c,
            at_edge=chosen.at_edge,
            curve=chosen.curve,
            selected_on=chosen.selected_on,
            converged=chosen.probe.converged,
            gap=None if np.isnan(chosen.probe.gap) else chosen.probe.gap,
            iterations=chosen.probe.iterations,
        )

    def _provenance(
        self, divisions: list[Split], targets: Array, used: int, final: int, fitted: int
    ) -> list[str]:
        """Return what must be shown beside the score."""
        said = [*self.clips.provenance, *self.embeddings.layout.provenance]
        if used < self.expected:
            said.append(f"{used:,} of {self.expected:,} clips")
        if final:
            said.append(f"not converged ({final} of {fitted} probes)")
        if self.clips.target != "regression":
            unseen = sorted(
                {
                    name
                    for s in divisions
                    for name in breakdown.unseen(
                        self.clips, targets, s.fitted(self.card.protocol), s.test
                    )
                }
            )
            if unseen:
                more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
                said.append(f"never in training: {', '.join(unseen[:5])}{more}")
        return list(dict.fromkeys(said))

    def _arrays(
        self,
        divisions: list[Split],
        fitted: list[Chosen],
        rows: Array,
        fold: Array,
        targets: Array,
        scores: Array,
    ) -> dict[str, Any]:
        names = np.array([s.name for s in divisions])
        arrays: dict[str, Any] = {
            "predictions/clip_id": self.clips.column("clip_id")[rows],
            "predictions/fold": names[fold],
            "predictions/target": targets[rows],
            "predictions/scores": scores,
        }
        for split, chosen in zip(divisions, fitted, strict=True):
            probe = chosen.probe
            where = f"probe/{split.name.replace('/', '-')}"
            arrays |= {
                f"{where}/coef": probe.coef,
                f"{where}/intercept": probe.intercept,
                f"{where}/mean": probe.scaler.mean,
                f"{where}/scale": probe.scaler.scale,
            }
        return arrays


def _for_head(embeddings: Embeddings, chosen: Selection) -> Selection:
    """Return the selection of the stream that the head reads."""
    own = head.of(embeddings).stream
    if chosen.stream not in ("", own):
        raise DataError(f"{chosen.name}: its head reads the stream {own!r}, not {chosen.stream!r}")
    return replace(chosen, stream=own)


def _as_it_is(classes: int, split: Split) -> Chosen:
    return head.as_it_is(classes)


def _one_split(
    features: Array, targets: Array, clips: Manifest, card: TaskCard, solver: str, split: Split
) -> Chosen:
    metric = metrics.get(card.metric)
    return selection.choose(features, targets, clips, split, card.protocol, metric, solver=solver)
