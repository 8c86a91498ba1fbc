"""Stage 2: probes on cached embeddings, scored under each task's own protocol."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from probekit.cache import layout
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import ProbekitError
from probekit.parallel import dask as dask_module
from probekit.parallel import resources
from probekit.parallel.pool import parallel_map
from probekit.probes import features as features_module
from probekit.probes import presets, pretrained_head, registry, subsample
from probekit.probes.features import Features
from probekit.probes.presets import Preset
from probekit.probes.probe_run import ProbeRun
from probekit.probes.registry import Head
from probekit.probes.task_clips import resolve_clips
from probekit.scores import store
from probekit.scores.store import Result

Progress = Callable[[str, int, int], None]


def evaluate(
    task: str | Sequence[str],
    extractors: str | Sequence[str],
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    reports: str | Path | None = None,
    probe: str = "linear",
    preset: str = "",
    fractions: Sequence[float] = (1.0,),
    seeds: int = 1,
    solver: str = "probekit",
    device: str = "cpu",
    jobs: int = 1,
    dask: str | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Probe embeddings for tasks.

    By default features are standardized on training clips and the probe is an L2-regularized linear
    model; its settings are chosen on validation clips or inside the training folds, the probe
    refitted as the task's card says, and scored on test clips that nothing else has seen. Each
    result is kept as soon as it exists; what is in the store already is not computed again.

    Parameters
    ----------
    task : str or sequence of str
        A task's name, card (YAML) or table (CSV), or the name of a folder that was extracted.
    extractors : str or sequence of str
        Embeddings in the cache: ``"vggish"``, ``"vggish:stream=prerelu,pool=mean+std"``,
        ``"vggish@1a2b3c4d"``; ``"vggish+melstats"`` puts two side by side, over the clips that both
        have.
    cache : str or pathlib.Path, optional
        The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``.
    root : str or pathlib.Path, optional
        The dataset's folder, where its clip table is not in the cache yet. Audio is not needed.
    reports : str or pathlib.Path, optional
        Where results are kept; by default ``PROBEKIT_REPORTS``, else ``reports/out``.
    probe : str
        ``linear``, ``mlp``, ``knn``, ``head`` (fits nothing: the network's own classifier, on a
        task whose classes are among the network's), or a scikit-learn estimator ``MODULE:CLASS``.
        See :func:`probekit.probes.registry.get_probe`.
    preset : str
        A recipe of a paper: stream, pooling, steps and probe for each extractor; see
        :mod:`probekit.probes.presets`.
    fractions : sequence of float, 0 < fraction <= 1
        Shares of the training labels; each is a run.
    seeds : int >= 1
        Runs with seeds 0, 1, … where something is random: drawn labels, an MLP's weights.
    solver : {"probekit", "scikit-learn"}
        What fits linear probes. probekit's proves how close each fit came to its minimum;
        scikit-learn's is there to compare with.
    device : str
        Where probekit's solver runs: ``"cpu"``, ``"cuda"`` …
    jobs : int >= 1
        Processes; runs, or the folds of a single run, are spread over them.
    dask : str, optional
        Spread runs over a Dask cluster instead: its address, or ``"local"``. A linear probe of
        features above 2 GB is fitted here, while the workers read them and sum over them.
    again : bool
        Compute also what is in the store already.
    progress : callable, optional
        Called with what is counted (the run's name, or ``"runs"``), how many are done, of how many.

    Returns
    -------
    list of Result
        By task, embedding, fraction and seed, in the order asked for.

    Raises
    ------
    ProbekitError
        If a task, the embeddings or a clip table are not there or do not fit.
    """
    if seeds < 1:
        raise ProbekitError(f"--seeds {seeds}: at least 1")
    if preset and probe != "linear":
        raise ProbekitError(f"--preset {preset} has a probe of its own: leave out --probe {probe}")
    where, store_root = layout.cache_root(cache), store.reports_root(reports)
    runs = [
        run
        for one in ([task] if isinstance(task, str) else task)
        for run in _Request(probe, preset, tuple(fractions), seeds, solver, device).runs(
            where, one, [extractors] if isinstance(extractors, str) else extractors, root
        )
    ]
    paths = [run.path(store_root) for run in runs]
    wanted = dict(zip(paths, runs, strict=True))  # what was asked for twice is computed once
    todo = [run for path, run in wanted.items() if again or store.load_if_complete(path) is None]
    alone = jobs == 1 or len(todo) == 1
    here: list[ProbeRun] = []
    spread: list[ProbeRun] = []
    for run in todo:  # of large features the sums are spread, not the runs
        (here if (run.out_of_core if dask else alone) else spread).append(run)
    if spread:
        work = partial(_compute, store_root, 1, None, None)
        for k, _ in enumerate(parallel_map(work, spread, jobs=jobs, dask=dask), 1):
            if progress:
                progress("runs", k, len(spread))
    with _cluster(dask if here else None, jobs) as client:
        for run in here:
            tick = partial(progress, run.label) if progress else None
            _compute(store_root, 1 if client else jobs, tick, client, run)
    return [store.load(path) for path in paths]


def _cluster(address: str | None, jobs: int) -> AbstractContextManager[Any]:
    if address is None:
        return nullcontext()
    return dask_module.connect(address, jobs, resources.worker_environment(jobs))


def _compute(
    reports: Path, jobs: int, tick: Callable[[int, int], None] | None, client: Any, run: ProbeRun
) -> None:
    """Do one run and keep its result."""
    result, arrays = run.compute(jobs, tick, client)
    store.save(run.path(reports), result, arrays)


@dataclass(frozen=True)
class _Request:
    """What is the same for all tasks and embeddings."""

    probe: str
    preset: str
    fractions: tuple[float, ...]
    seeds: int
    solver: str
    device: str

    def runs(
        self, cache: Path, task: str, extractors: Sequence[str], root: str | Path | None
    ) -> list[ProbeRun]:
        """Return the runs of one task."""
        registry.get_probe(
            self.probe, solver=self.solver
        )  # a misspelt name is said before data is read
        card, clips = resolve_clips(task, cache, root)
        found = []
        for text in extractors:
            recipe = (
                presets.load_preset(self.preset, text) if self.preset else Preset(probe=self.probe)
            )
            kind = registry.get_probe(recipe.probe, solver=self.solver, device=self.device)
            own = self._features(cache, recipe.apply(text), card, clips, isinstance(kind, Head))
            for fraction in self.fractions:
                random = kind.seeded or subsample.check_fraction(fraction) < 1
                for seed in range(self.seeds if random else 1):
                    run = ProbeRun(card, own, kind, recipe.steps, self.preset, fraction, seed)
                    run.check()
                    found.append(run)
        return found

    def _features(
        self, cache: Path, text: str, card: TaskCard, clips: Manifest, for_head: bool
    ) -> Features:
        found = features_module.find_features(cache, text, card.dataset, clips)
        return pretrained_head.restrict_stream(found) if for_head else found
