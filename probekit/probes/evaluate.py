"""Stage 2: probes on cached embeddings, scored under each task's own protocol."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probekit.cache import layout
from probekit.cards import TaskCard
from probekit.errors import ProbekitError
from probekit.parallel import resources
from probekit.parallel.dask import connect
from probekit.parallel.pool import parallel_map
from probekit.probes import layer_choice, pretrained_head, registry, zero_shot
from probekit.probes.base import Probe
from probekit.probes.evaluation_protocols import EvaluationProtocol, get_evaluation_protocol
from probekit.probes.features import Features, expand_layers, find_features
from probekit.probes.few_shot import few_shot
from probekit.probes.presets import apply_preset
from probekit.probes.pretrained_head import Head
from probekit.probes.probe_run import ProbeRun
from probekit.probes.registry import get_probe
from probekit.probes.zero_shot import ZeroShot, alternatives
from probekit.scores import staleness, store
from probekit.scores.store import Result
from probekit.tasks.splits import check_repeats, make_repeated_splits
from probekit.tasks.subsample import check_fraction, draw_shots
from probekit.tasks.task_clips import resolve_clips
from probekit.tasks.validation import check_metrics

_SERIAL_WORK = 1e8  # of runs that take about as long as starting processes; see ProbeRun.work
_WORK_FACTORS = {"mlp": 30, "knn": 0.1, "head": 0.0}
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
    grid: Sequence[float] = (),
    repeats: int = 1,
    jobs: int | None = None,
    dask: str | None = None,
    again: bool = False,
    progress: Progress | None = None,
    shots: Sequence[int] = (),
    protocol: str = "",
) -> list[Result]:
    """Probe embeddings: score how much each of them knows about a task.

    By default features are standardized on training clips, and the probe is an L2-regularized
    linear model. Its settings are selected on validation clips or inside the training folds; it is
    then refitted as the task's card says, and scored on test clips that nothing else has seen.
    Each result is saved as soon as it is computed; runs already in the store are not repeated.

    Parameters
    ----------
    task : str or sequence of str
        A task's name, card (YAML) or table (CSV), or the name of an extracted dataset.
    extractors : str or sequence of str
        Embeddings in the cache: ``"vggish"``, ``"vggish:stream=prerelu,pool=mean+std"``,
        ``"vggish@1a2b3c4d"``; ``"vggish+melstats"`` joins two, for the clips that both have.
        ``"convnet:layer=3"`` is a layer, ``layer=all`` a run for each; with ``layer=auto`` the
        layer is selected like other settings, with ``layer=learned`` a linear probe weights all.
    cache : str or pathlib.Path, optional
        Cache root; by default ``PROBEKIT_CACHE``, else ``cache``.
    root : str or pathlib.Path, optional
        The dataset's folder, if its manifest is not in the cache. Audio is not needed.
    reports : str or pathlib.Path, optional
        Reports folder; by default ``PROBEKIT_REPORTS``, else ``reports/out``.
    probe : str
        ``linear``, ``mlp``, ``mlp-segments`` (on frames, whose scores are averaged over a clip),
        ``attention`` and ``prototypes`` (they learn how to pool frames; results of the linear probe
        on the mean are returned before theirs), ``knn``, ``head`` (the network's own classifier,
        nothing is fitted; the task's classes must be among the network's), or a scikit-learn
        estimator ``MODULE:CLASS``; see :func:`probekit.probes.registry.get_probe`.
    preset : str
        A paper whose stream, pooling, transforms and probe are used for each extractor; see
        :mod:`probekit.probes.presets`.
    fractions : sequence of float, 0 < fraction <= 1
        Fractions of the training labels; each is a run.
    seeds : int >= 1
        Number of runs, with seeds 0, 1, …, if anything is random: the labels that are drawn, an
        MLP's weights.
    solver : {"probekit", "scikit-learn"}
        Solver of linear probes. probekit's certifies how close each fit is to its minimum;
        scikit-learn's is for comparison.
    device : str
        Torch device of probekit's solver: ``"cpu"``, ``"cuda"`` …
    grid : sequence of float > 0
        Values of C that a linear probe selects from; by default twelve from 1e-5 to 1e6. One value
        is used as it is.
    repeats : int >= 1
        How often folds are made, of clips in another order each time; the score is the mean over
        all folds. Only for tasks whose folds probekit makes.
    jobs : int >= 1, optional
        Number of processes; runs, or the folds of a single run, are distributed over them. By
        default as many as the machine has cores where there is work for more than a few seconds.
    dask : str, optional
        Distribute runs over a Dask cluster instead: its address, or ``"local"``. A linear probe of
        features above 2 GB is fitted in this process, while the workers read them and sum over
        them.
    again : bool
        Repeat runs that are in the store already.
    progress : callable, optional
        Called with the name of a run or ``"runs"``, the number of finished folds or runs, and the
        total; first with 0.
    shots : sequence of int >= 1
        Numbers of labeled training clips of each class; each is a run, instead of fractions. The
        probe is linear, with one C (1, or that of ``grid``): no label is left to select it.
    protocol : str
        Rules of another tool, ``hear``, ``mteb``, ``mteb-draws``, ``xares``, ``xares-knn`` or
        ``evar``, or one departure from the task's own; see
        :mod:`probekit.probes.evaluation_protocols`. They include the probe. Results are in a store
        of their own, ``<reports>/protocols/<protocol>``.

    Returns
    -------
    list of Result
        By task, embedding, fraction and seed, in the order of the arguments. A
        :class:`probekit.scores.store.Result` is a dict, the content of the run's JSON file.

    Raises
    ------
    ProbekitError
        If a task, an embedding or a manifest is not found, or they do not fit together.

    See Also
    --------
    probekit.extract : Compute the embeddings.
    probekit.results : All results as a table.
    probekit.distill : Train a student on audio with an embedding as teacher.
    probekit.LinearProbe : The linear probe as a scikit-learn estimator.

    Examples
    --------
    Embeddings of a synthesized corpus, under its own five folds:

    >>> from pathlib import Path
    >>> import probekit
    >>> from probekit.tasks.standin.corpus import write_corpus
    >>> clips = write_corpus(Path("corpus"), clips=30)
    >>> report = probekit.extract("melstats", task="synth", root="corpus")
    >>> [result] = probekit.evaluate("synth", "melstats", probe="knn")
    >>> result["metric"], len(result["folds"]), result["clips"]["used"]
    ('accuracy', 5, 30)
    >>> result["interval"]["low"] <= result["score"] <= result["interval"]["high"]
    True
    >>> sorted(result["folds"][0]["params"])  # selected inside the training folds
    ['distance', 'neighbours']

    Label efficiency, with two draws of half of the training labels:

    >>> runs = probekit.evaluate("synth", "melstats", probe="knn", fractions=[0.5], seeds=2)
    >>> [(run["fraction"], run["seed"]) for run in runs]
    [(0.5, 0), (0.5, 1)]
    """
    if seeds < 1:
        raise ProbekitError(f"--seeds must be >= 1, got {seeds}")
    if preset and probe != "linear":
        raise ProbekitError(f"--preset {preset} sets the probe itself; leave out --probe {probe}")
    if device != "cpu":  # checked even if all runs are stored
        device = str(resources.resolve_device(device))
    cache_root, reports_root = layout.cache_root(cache), store.reports_root(reports)
    request = _Request(probe, preset, tuple(fractions), seeds, solver, device, tuple(grid), repeats)
    request = replace(request, shots=tuple(shots), rules=_find_rules(request, shots, protocol))
    names = [extractors] if isinstance(extractors, str) else extractors
    runs = [
        run
        for name in ([task] if isinstance(task, str) else task)
        for run in request.runs(cache_root, name, names, root)
    ]
    paths = [run.path(reports_root) for run in runs]
    distinct = dict(zip(paths, runs, strict=True))
    todo = [run for path, run in distinct.items() if again or store.load_if_complete(path) is None]
    if jobs is None:
        jobs = resources.cpu_count() if dask else _default_jobs(todo)
    serial = jobs == 1 or len(todo) == 1
    local: list[ProbeRun] = []
    remote: list[ProbeRun] = []
    for run in todo:  # with large features the sums are distributed, not the runs
        (local if (run.out_of_core if dask else serial) else remote).append(run)
    if remote:
        compute = partial(_compute, reports_root, 1, None, None)
        if progress:
            progress("runs", 0, len(remote))
        for done, _ in enumerate(parallel_map(compute, remote, jobs=jobs, dask=dask), 1):
            if progress:
                progress("runs", done, len(remote))
    with connect(dask, jobs) if dask and local else nullcontext() as client:
        for run in local:
            run_progress = partial(progress, run.label) if progress else None
            _compute(reports_root, 1 if client else jobs, run_progress, client, run)
    computed = {run.card.name for run in todo}
    root = store.protocol_root(reports_root, protocol) if protocol else reports_root
    for run in {run.card.name: run for run in runs if run.card.name not in computed}.values():
        staleness.note_clip_table(root, run.card.name, run.features.all_clips.digest())
    return [store.load(path) for path in paths]


def _default_jobs(runs: Sequence[ProbeRun]) -> int:
    """Return all cores where other processes save more time than they take to start."""
    work = sum(run.work * _WORK_FACTORS.get(run.probe.name.partition(":")[0], 1) for run in runs)
    divisible = len(runs) > 1 or any("folds" in run.card.protocol.kind for run in runs)
    return resources.cpu_count() if divisible and work > _SERIAL_WORK else 1


def _compute(
    reports: Path,
    jobs: int,
    progress: Callable[[int, int], None] | None,
    client: Any,
    run: ProbeRun,
) -> None:
    """Compute one run and save its result."""
    result, arrays = run.compute(jobs, progress, client)
    store.save(run.path(reports), result, arrays)


def _find_rules(
    request: "_Request", shots: Sequence[int], protocol: str
) -> EvaluationProtocol | None:
    """Return the rules of another protocol, which set what other options would set."""
    if not protocol:
        return None
    rules = get_evaluation_protocol(protocol)
    options = {
        "--probe": request.probe != "linear",
        "--preset": bool(request.preset),
        "--fraction": request.fractions != (1.0,),
        "--shots": bool(shots),
        "--seeds": request.seeds != 1,
        "--solver": request.solver != "probekit",
        "--grid": bool(request.grid),
        "--repeats": request.repeats != 1,
    }
    if used := [option for option, is_set in options.items() if is_set]:
        raise ProbekitError(f"--protocol {protocol} sets this itself; leave out {', '.join(used)}")
    return rules


@dataclass(frozen=True)
class _Request:
    """Options that apply to all tasks and embeddings."""

    probe: str
    preset: str
    fractions: tuple[float, ...]
    seeds: int
    solver: str
    device: str
    grid: tuple[float, ...]
    repeats: int
    shots: tuple[int, ...] = ()
    rules: EvaluationProtocol | None = None

    def runs(
        self, cache: Path, task: str, selectors: Sequence[str], root: str | Path | None
    ) -> list[ProbeRun]:
        """Return the runs of one task."""
        # an unknown name is reported before data is read
        get_probe(self.probe, solver=self.solver, grid=self.grid)
        card, clips = resolve_clips(task, cache, root)
        check_repeats(card.protocol, card.name, self.repeats)
        runs = []
        expanded = [t for text in selectors for t in expand_layers(cache, text, card.dataset)]
        for text in expanded:
            selector, preset = apply_preset(self.preset, text)
            name = preset.probe if self.preset else self.probe
            probe = get_probe(name, solver=self.solver, device=self.device, grid=self.grid)
            features = find_features(cache, selector, card.dataset, clips, several_layers=True)
            if features.layer:
                probe = layer_choice.wrap_probe(probe, features)
            if isinstance(probe, Head):
                features = pretrained_head.restrict_stream(features)
            check_metrics(card, features.clips)
            if self.rules:
                runs += self.runs_by_rules(card, features, self.rules)
                continue
            if isinstance(probe, ZeroShot):  # every template, too; no label is used
                pairs = [zero_shot.prepare(each, features) for each in alternatives(probe)]
                runs += [ProbeRun(card, fitting, each, ()) for each, fitting in pairs]
                continue
            if self.shots:
                runs += self.few_shot_runs(card, features, probe, preset.steps)
                continue
            kind = probe.name.partition(":")[0]
            if kind in registry.OF_FRAMES:
                _check_frame_probe(features, probe)
            if kind in store.POOLING_PROBES:  # never without the mean over frames beside it
                mean = registry.get_probe("linear", solver=self.solver, device=self.device)
                beside = replace(self, probe="linear", preset="", grid=())
                runs += beside.seeded_runs(card, features, mean, preset.steps)
            runs += self.seeded_runs(card, features, probe, preset.steps)
        return runs

    def seeded_runs(
        self, card: TaskCard, features: Features, probe: Probe, steps: tuple[str, ...]
    ) -> list[ProbeRun]:
        """Return the runs of one embedding, for all fractions and seeds."""
        return [
            ProbeRun(card, features, probe, steps, self.preset, fraction, seed, self.repeats)
            for fraction in self.fractions
            for seed in range(self.seeds if probe.seeded or check_fraction(fraction) < 1 else 1)
        ]

    def runs_by_rules(
        self, card: TaskCard, features: Features, rules: EvaluationProtocol
    ) -> list[ProbeRun]:
        """Return the runs of one embedding by another protocol; an error if it is not possible."""
        if features.layer:
            raise ProbekitError(
                f"-e {features.label}: --protocol {rules.name} selects no layer; use layer=all"
            )
        first, *others = [
            ProbeRun(card, features, rules.make_probe(), rules.steps, seed=seed, rules=rules)
            for seed in rules.seeds
        ]
        first.splits(features.clips.targets())
        return [first, *others]

    def few_shot_runs(
        self, card: TaskCard, features: Features, probe: Probe, steps: tuple[str, ...]
    ) -> list[ProbeRun]:
        """Return the runs of one embedding, for all numbers of shots and seeds.

        Raises
        ------
        ProbekitError
            If clips have several labels, or a class has too few training clips.
        """
        if self.fractions != (1.0,):
            raise ProbekitError("--shots and --fraction: give one of the two")
        if features.clips.target != "single":
            raise ProbekitError(
                f"--shots needs clips of one label each, unlike those of {card.name}"
            )
        clips, targets = features.clips, features.clips.targets()
        splits = make_repeated_splits(card.protocol, clips, features.all_clips, self.repeats)
        runs = []
        for shots in self.shots:
            if shots < 1:
                raise ProbekitError(f"--shots must be >= 1, got {shots}")
            fewest = min(np.unique(targets[s.train], return_counts=True)[1].min() for s in splits)
            if shots > fewest:
                raise ProbekitError(
                    f"--shots {shots}: a class of {card.name} has only {fewest} training clips"
                )
            drawn = sum(len(draw_shots(s, shots, targets, clips, 0).train) for s in splits)
            fraction = drawn / sum(len(s.train) + len(s.valid) for s in splits)
            runs += [
                ProbeRun(
                    card,
                    features,
                    few_shot(probe),
                    steps,
                    self.preset,
                    fraction,
                    seed,
                    self.repeats,
                    shots,
                )
                for seed in range(self.seeds)
            ]
        return runs


def _check_frame_probe(features: Features, probe: Probe) -> None:
    """Raise if a probe of frames cannot read these, or poolings are selected that it ignores."""
    for selector, _ in features.members:
        if selector.has_pool:
            raise ProbekitError(
                f"-e {features.label}: --probe {probe.name} reads frames; leave out pool="
            )
    features.check_frames(probe.name)
