"""Training of networks on audio, from labels and from unlabeled sound."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from probekit.cache.layout import cache_root
from probekit.errors import ProbekitError
from probekit.extractors.students import zoo
from probekit.extractors.weights.source import validate_overrides
from probekit.scores import store
from probekit.scores.store import Result
from probekit.tasks.task_clips import resolve_clips
from probekit.training import schedules, task_data
from probekit.training.multi_target import (
    Draw,
    check_draw,
    read_further_targets,
    with_branches,
)
from probekit.training.run_config import TrainerConfig
from probekit.training.runner import Progress, Runner, check_options
from probekit.training.step_cost import estimate
from probekit.training.target_clips import check_alone, with_targets
from probekit.training.teaching_stages import check_stages, run_stages
from probekit.training.train_config import OBJECTIVES, ObjectiveConfig, TrainConfig
from probekit.training.unlabeled_clips import OWN_CLIPS, open_unlabeled
from probekit.training.weak_labels import check_weak_labels, with_pooling
from probekit.utils.suggest import unknown_name_error

_LONG_TRAINING = 50_000  # clips that all steps read together, from which it is timed before


def train(
    task: str,
    network: str,
    *,
    objective: str = "supervised",
    targets: str | Path = "",
    also: Sequence[str | Path] = (),
    draw: Draw = "epoch",
    loss: str = "",
    unit_length: bool = False,
    pooling: str = "",
    unlabeled: str = "",
    unlabeled_root: str | Path | None = None,
    allow_overlap: bool = False,
    weight: float = 0.05,
    temperature: float = 0.01,
    mixing: bool = True,
    cross: bool = False,
    separate: bool = True,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    reports: str | Path | None = None,
    recipe: str = "default",
    epochs: int | None = None,
    warm_up: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    steps: int | None = None,
    stages: int = 1,
    label_share: float = 0.3,
    parts: str | Path = "",
    crop: float | None = None,
    init: str = "",
    weights: Sequence[str] = (),
    fractions: Sequence[float] = (1.0,),
    seeds: int = 1,
    folds: Sequence[str] = (),
    device: str = "auto",
    devices: int = 1,
    precision: str = "32",
    name: str = "",
    again: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Result]:
    """Train a network on a task's audio, and score it under the task's own protocol.

    Results are stored beside those of probes, with the losses and scores of every epoch. Finished
    runs are not repeated, and an interrupted run is resumed after its last finished epoch. A
    trained network is an extractor, ``runs/ID``.

    Parameters
    ----------
    task : str
        Name of a task, path of a task card (YAML) or of a table (CSV), or name of an extracted
        folder.
    network : str
        ``"resnet50v2"``, ``"short-chunk:width=32"``, ``"harmonic-cnn"``, ``"cf-net"``, or
        ``"module:Class"``; see :mod:`probekit.extractors.students.zoo`.
    objective : {"supervised", "contrastive", "weak-labels"}
        The task's loss; or with it the contrastive loss of lee2021, on labeled and unlabeled clips;
        or labels of clips, learned through outputs of frames that are pooled over time. Recipes of
        weak labels imply the latter.
    targets : str or pathlib.Path
        A table of vectors or distributions by clip id, which the network learns instead of the
        task's labels: a target file of ``probekit targets``, ``.npz``, ``.parquet`` or ``.csv``;
        see :func:`probekit.targets.target_file.read_targets`. The recipe ``default`` is then
        ``lee2019``.
    also : sequence of str or pathlib.Path
        Further target files, which the network learns beside labels or ``targets``: one of them is
        drawn for every epoch. ``artist-net`` shares its first convolution and has a branch for
        each, whose embeddings are put side by side; other networks share the encoder. Each target
        has an optimizer of its own.
    draw : {"epoch", "step"}
        How often one of several targets is drawn, with equal probabilities.
    loss : {"", "mse", "cosine", "cross-entropy"}
        Of targets; by default ``mse`` for vectors, ``cross-entropy`` for distributions.
    unit_length : bool
        Whether vectors of targets are divided by their lengths; those of ``probekit targets cf``
        are already.
    pooling : {"", "linear-softmax", "attention", "max", "average", "exponential"}
        For ``weak-labels``: how outputs of frames become those of a clip; by default the network's
        own way, or linear softmax. Networks without outputs of frames get a linear layer on each.
    unlabeled : str
        For ``contrastive``: a task, table or folder of recordings, whose labels are not read; or
        ``"train"`` for the task's own training clips.
    unlabeled_root : str or pathlib.Path, optional
        The folder of its recordings.
    allow_overlap : bool
        Train although test clips are among the unlabeled ones; the result notes it.
    weight : float >= 0
        Weight of the contrastive loss.
    temperature : float > 0
        Divisor of its cosine similarities.
    mixing : bool
        Whether clips are mixed and noise is added; else the random offset alone is left.
    cross : bool
        As for :func:`probekit.training.losses.nt_xent`.
    separate : bool
        Whether labeled clips, halves and augmented halves pass the network one after the other,
        each with the statistics of its own batch; else all at once.
    cache, root, reports : str or pathlib.Path, optional
        As for :func:`probekit.distill`.
    recipe : str
        ``"default"``, ``"won"``, ``"hung2022"``, ``"kim2018"``, ``"lee2019"``, ``"lee2021"``,
        ``"lee2021-supervised"``; of weak labels ``"cmu2019"``, ``"kumar2021"``, ``"panns"``,
        ``"self-taught"``; see
        :func:`probekit.training.schedules.get_recipe`.
    epochs, warm_up, batch, lr, steps : number, optional
        Instead of the recipe's; see :func:`probekit.training.schedules.get_recipe`.
    stages : int >= 1
        For ``weak-labels``: networks that are trained one after the other, at most; each but the
        first learns from labels and from the outputs of the one before it
        (:mod:`probekit.training.teaching_stages`). The results are those of all, the best one last.
    label_share : float, 0 <= label_share < 1
        Share of the labels in what these learn.
    parts : str or pathlib.Path
        For ``weak-labels`` with ``talnet`` or ``weanet``: folder of their log-mel spectra, made
        there if missing; by default in the cache. Recordings may be absent once they are made.
    crop : float > 0, optional
        Length of the network's input in s; by default the network's own, or the duration of the
        longest clip if that is shorter.
    init : str
        Extractor of the initial weights, for example ``"resnet50v2"`` (ImageNet's) or a trained
        network ``"runs/ID"``.
    weights : sequence of str
        That extractor's weights: ``NAME=PATH`` or ``NAME=random:SEED``.
    fractions : sequence of float, 0 < fraction <= 1
        Shares of the training labels; a run each.
    seeds : int >= 1
        Number of runs, with seeds 0, 1, …
    folds : sequence of str
        Some of the task's folds; by default all. The result notes it.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    devices : int >= 1
        Number of devices that train one network together.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the network.
    name : str
        Label of the runs in tables; by default network and objective.
    again : bool
        Repeat finished runs.
    dry_run : bool
        For ``weak-labels``: only say through ``warn`` what the training takes, hours and bytes,
        from 20 timed steps; there are no results. Long trainings say it anyway.
    progress : callable, optional
        Called with what is counted, how much is done, of how much, and a note.
    warn : callable, optional
        Called with warnings before the training starts.

    Returns
    -------
    list of Result
        By fraction and seed.

    Raises
    ------
    ProbekitError
        If something is unknown, missing or does not fit, or a loss is not finite.

    See Also
    --------
    probekit.distill : Train with cached embeddings as teachers.
    probekit.extract : Embed clips with the trained network.
    probekit.compare : Test a network against another run.

    Examples
    --------
    Two synthesized classes, and recordings without labels:

    >>> import csv
    >>> from pathlib import Path
    >>> import soundfile
    >>> import probekit
    >>> from probekit.tasks.standin.sounds import synthesize
    >>> rows = [("clip_id", "path", "label", "split")]
    >>> Path("more").mkdir()
    >>> for seed, split in enumerate(["train", "train", "valid", "test"]):
    ...     for label in ("bell", "rain"):
    ...         wave = synthesize(label, seed=seed, seconds=0.6, sr=16000)
    ...         soundfile.write(f"{label}{seed}.wav", wave, 16000)
    ...         soundfile.write(f"more/{label}{seed}.wav", wave[::-1], 16000)
    ...         rows.append((f"{label}{seed}", f"{label}{seed}.wav", label, split))
    >>> with open("pair.csv", "w", newline="") as file:
    ...     csv.writer(file).writerows(rows)
    >>> [result] = probekit.train(
    ...     "pair.csv", "short-chunk:width=2", objective="contrastive", unlabeled="more",
    ...     epochs=2, device="cpu",
    ... )
    >>> result["embedding"]
    'short-chunk:width=2, contrastive, 2 epochs (more)'
    >>> sorted(result["history"][0])[:4]
    ['best', 'contrastive', 'epoch', 'fold']
    """
    check_options(seeds, fractions, device, devices, precision)
    if recipe in schedules.WEAK_LABELS and objective == "supervised":
        objective = "weak-labels"
    chosen = _check_objective(
        ObjectiveConfig(objective, weight, temperature, mixing, cross, separate), unlabeled
    )
    _check_weak_options(objective, pooling, recipe)
    check_stages(stages, label_share, objective)
    if objective == "weak-labels":
        check_alone(
            [("--targets", bool(targets)), ("--also", bool(also))], "--objective weak-labels"
        )
        network, pooling = with_pooling(network, pooling)
        chosen = replace(chosen, pooling=pooling)
    cache_folder, reports_folder = cache_root(cache), store.reports_root(reports)
    card, clips = resolve_clips(task, cache_folder, root)
    target_clips, everything = None, clips
    if targets:
        check_alone([("--objective contrastive", objective != "supervised")])
        target_clips = with_targets(card, clips, targets, loss=loss, unit_length=unit_length)
        card, clips = target_clips.card, target_clips.clips
        recipe = "lee2019" if recipe == "default" else recipe
    elif loss or unit_length:
        raise ProbekitError(
            f"{'--loss' if loss else '--unit-length'} is for --targets; leave it out"
        )
    training_recipe = schedules.get_recipe(
        recipe, card.metric, epochs=epochs, batch=batch, lr=lr, warm_up=warm_up, steps=steps
    )
    if objective == "weak-labels":
        check_weak_labels(zoo.build_student(network, 1), training_recipe, clips)
    if dry_run and objective != "weak-labels":
        raise ProbekitError(f"--dry-run is for --objective weak-labels, not {objective}")
    if objective == "weak-labels":
        splits = card.protocol.kind
        trained = int((clips.column("split") == "train").sum()) if splits == "split" else len(clips)
        size = (training_recipe.steps or 0) * training_recipe.epochs * training_recipe.batch_size
        if dry_run or (size >= _LONG_TRAINING and warn):
            built = zoo.build_student(network, len(clips.class_names))
            if chosen.pooling:
                built.classify_frames(chosen.pooling)
            cost = estimate(built, training_recipe, clips, trained, device)
            if warn is not None:
                warn(f"{network}: {cost}")
            if dry_run:
                return []
    check_draw(draw, also)
    if also:
        check_alone([("--objective contrastive", objective != "supervised")], "--also")
        network = with_branches(network, 1 + len(also))
        if epochs is None:
            training_recipe = schedules.per_target(training_recipe, 1 + len(also))
    further = tuple(read_further_targets(also, clips))
    overrides = validate_overrides(list(weights), [init] if init else [], "--init")
    data = task_data.prepare_task(
        card,
        clips,
        network,
        cache=cache_folder,
        crop=crop,
        reports=reports_folder,
        levels=objective == "weak-labels",
        parts=Path(parts) if parts else None,
        # most clips have a target: then all trainings share their audio
        stored=everything if target_clips and 2 * len(clips) >= len(everything) else None,
        progress=(lambda done, total: progress("sound", done, total, "")) if progress else None,
    )
    more = None
    if unlabeled and unlabeled != OWN_CLIPS:
        more = open_unlabeled(
            unlabeled,
            data.audio.sr,
            cache=cache_folder,
            root=unlabeled_root,
            allow_overlap=allow_overlap,
            progress=(lambda done, total: progress("unlabeled sound", done, total, ""))
            if progress
            else None,
        )
    configs = [
        TrainConfig(
            task=data,
            recipe=training_recipe,
            fraction=fraction,
            seed=seed,
            folds=tuple(folds),
            trainer=TrainerConfig(device, devices, precision),
            name=name,
            objective=chosen,
            targets=target_clips,
            further=further,
            draw=draw,
            unlabeled=more,
            init=init,
            weights=tuple(overrides.items()),
        )
        for fraction in fractions
        for seed in range(seeds)
    ]
    for config in configs:
        config.check_further()
    if more is not None:
        more.notes(data, [split for config in configs for split in config.splits])
    runner = Runner(reports_folder, again, progress, warn)
    if stages > 1:
        return [
            result
            for config in configs
            for result in run_stages(runner, config, stages, label_share, warn)
        ]
    return runner.run_all(configs)


def _check_weak_options(objective: str, pooling: str, recipe: str) -> None:
    """Raise a ProbekitError if options of weak labels are given for another objective."""
    if objective == "weak-labels":
        return
    if pooling:
        raise ProbekitError(f"--pooling is for --objective weak-labels, not {objective}")
    if recipe in schedules.WEAK_LABELS:
        raise ProbekitError(f"recipe {recipe!r} is for --objective weak-labels, not {objective}")


def _check_objective(objective: ObjectiveConfig, unlabeled: str) -> ObjectiveConfig:
    """Return an objective after checking the options that go with it."""
    if objective.name not in OBJECTIVES:
        raise unknown_name_error("objective", objective.name, OBJECTIVES)
    if objective.name == "contrastive" and not unlabeled:
        raise ProbekitError(
            "--objective contrastive needs --unlabeled, a task, table or folder of recordings; or "
            f"--unlabeled {OWN_CLIPS} for the task's own training clips"
        )
    if objective.name != "contrastive" and unlabeled:
        raise ProbekitError(
            f"--objective {objective.name} does not use --unlabeled; leave it out, or give "
            "--objective contrastive"
        )
    for option, value in (("--weight", objective.weight), ("--temperature", objective.temperature)):
        if not 0 < value < float("inf"):
            raise ProbekitError(f"{option} must be > 0, got {value:g}")
    return objective
