"""Arithmetic of a reproduction's training, counted before it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from probekit import cards
from probekit.cards import PaperCard
from probekit.cards.paper import Setting
from probekit.data.manifest import Manifest
from probekit.reproduce import artist_networks
from probekit.reproduce.assets import Assets
from probekit.reproduce.preconditions import training_settings
from probekit.reproduce.runs import run_key
from probekit.tasks import splits, subsample
from probekit.tasks.task import load_task

TFLOP_PER_SECOND = 20.0
"""Assumed rate of a GPU with small batches in float32; not measured."""

_TRAIN_FACTOR = 3  # a step costs the forward pass, and twice as much for the gradients


@dataclass(frozen=True)
class TrainingCost:
    """Arithmetic of several runs.

    Attributes
    ----------
    runs, trainings : int
        Number of runs, and of networks to train, one per fold.
    flop : float
        Multiply-adds of convolutions and matrix products, times two.
    """

    runs: int
    trainings: int
    flop: float

    @property
    def gpu_hours(self) -> float:
        """Hours at the assumed rate."""
        return self.flop / (TFLOP_PER_SECOND * 1e12) / 3600

    def describe(self) -> str:
        """Say it in a line."""
        hours = f"{self.gpu_hours:.1f}" if self.gpu_hours >= 0.1 else "less than 0.1"
        return (
            f"training: {self.runs} runs, {self.trainings} networks, "
            f"{self.flop / 1e15:,.0f} PFLOP, so about {hours} GPU hours at "
            f"{TFLOP_PER_SECOND:g} TFLOP/s"
        )


def estimate_cost(card: PaperCard, assets: Assets, epochs: int | None = None) -> TrainingCost:
    """Count the arithmetic of the networks that a paper trains, as far as folders are known.

    Clips are counted in the tables of the datasets; nothing is decoded. A clip is one crop. Runs
    that are finished are counted as well, students with teachers are not.

    Parameters
    ----------
    card : PaperCard
        With the tables and figures to compute.
    assets : Assets
        With the folders.
    epochs : int, optional
        Epochs of all networks instead of their recipe's.
    """
    settings = {run_key(setting): setting for setting in training_settings(card)}

    @cache
    def read_clips(task: str) -> Manifest:
        return load_task(task).manifest(assets.root(task))

    costs = [
        _estimate_run(setting, read_clips, epochs)
        for setting in settings.values()
        if setting.network
        and all(assets.root(name) for name in (setting.task, setting.unlabeled_task) if name)
    ]
    return TrainingCost(len(costs), sum(n for n, _ in costs), sum(flop for _, flop in costs))


def _estimate_run(
    setting: Setting, read_clips: Callable[[str], Manifest], epochs: int | None
) -> tuple[int, float]:
    """Return the number of folds of a run, and its arithmetic."""
    from probekit.training.schedules import get_recipe

    card, clips = cards.load_task_card(setting.task), read_clips(setting.task)
    targets = clips.targets()
    recipe = get_recipe(
        setting.recipe,
        card.metric,
        epochs=epochs,
        warm_up=None if epochs else setting.warm_up,
    )
    other = setting.unlabeled_task
    n_other = len(read_clips(other)) if other else 0
    passes, all_splits = 0.0, splits.make_splits(card.protocol, clips, clips)
    for full in all_splits:
        split = subsample.subsample_labels(full, setting.fraction, targets, clips, 0)
        labeled = len(split.train)
        unlabeled = (n_other or labeled) if setting.objective == "contrastive" else 0
        for phase in recipe.phases:
            reads = unlabeled if phase.streams is None else 0
            crops = _crops_per_epoch(labeled, reads, recipe.batch_size, recipe.unlabeled_batch_size)
            scored = len(split.test) * recipe.score_test + len(split.valid)
            passes += phase.epochs * (_TRAIN_FACTOR * crops + scored)
    return len(all_splits), passes * forward_flop(setting.network, len(clips.class_names))


def _crops_per_epoch(labeled: int, unlabeled: int, batch: int, unlabeled_batch: int) -> float:
    """Return how many crops pass the network in an epoch.

    It ends with the longer stream. With unlabeled clips, all clips of a step pass twice more: in
    their half, and augmented.
    """
    steps = -(-labeled // batch)
    if not unlabeled:
        return labeled
    per_step = labeled / steps
    more = min(unlabeled, unlabeled_batch)
    return max(steps, unlabeled // more) * (per_step + 2 * (per_step + more))


@cache
def forward_flop(network: str, classes: int) -> float:
    """Return the arithmetic of one crop of a network, of the network's own length.

    Only shapes matter, so that nothing is computed.
    """
    import torch
    from torch._subclasses import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from probekit.extractors.students.zoo import build_student

    student = build_student(network, classes).eval()
    samples = int(student.crop * student.rate)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        FlopCounterMode(display=False) as counter,
        torch.inference_mode(),
    ):
        student(torch.empty(1, samples))
    return float(counter.get_total_flops())


def describe_cost(card: PaperCard, assets: Assets, epochs: int | None = None) -> str:
    """Return a line on the training of a paper's networks; empty if there is none."""
    cost = estimate_cost(card, assets, epochs)
    lines = [cost.describe()] if cost.runs else []
    combined = [setting for setting in training_settings(card) if setting.targets]
    root = assets.root(combined[0].task) if combined else None
    if root is not None:
        task = load_task(combined[0].task)
        clips = task.manifest(root)
        [split] = splits.make_splits(task.card.protocol, clips, clips)
        estimate = artist_networks.estimate_cost(
            len(split.train), **({} if epochs is None else {"epochs": epochs})
        )
        lines.append(f"training: {estimate.describe()}")
    return "\n".join(lines)
