"""Training recipes: phases of optimizers, selection of the epoch, and early stopping.

``default`` is probekit's own: one Adam phase, chunks that cover every clip, the epoch with the best
validation score by the task's metric, and early stopping. ``won`` is the published recipe of the
harmonic CNN (Won et al., 2020), and ``hung2022`` what that paper changes of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, Literal

from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

Optimizer = Literal["adam", "sgd"]
NAMES = (
    "default",
    "won",
    "hung2022",
    "kim2018",
    "lee2019",
    "lee2021",
    "lee2021-supervised",
    "cmu2019",
    "kumar2021",
    "panns",
    "self-taught",
)
WEAK_LABELS = ("cmu2019", "kumar2021", "panns", "self-taught")
"""Recipes of the objective ``weak-labels``."""
_F1 = "f1-samples"  # metric by which Won et al. select on DCASE2017
_F1_BURN_IN = 10  # epochs before F1 selects

_STORED_KEYS = {
    "new_optimizer": "fresh",
    "batch_size": "batch",
    "burn_in": "unchosen",
    "max_valid_loss": "ceiling",
    "chunk_policy": "chunks",
}
"""Keys of :meth:`TrainingRecipe.facts`, which name runs, for fields of another name."""

_LATER_DEFAULTS = {
    "streams": None,
    "unlabeled_batch_size": 32,
    "epsilon": 1e-8,
    "restore_best": True,
    "score_test": False,
    "decays_biases": True,
    "sampler": "shuffle",
    "steps": None,
    "plateau": None,
    "amsgrad": False,
    "masks": None,
    "mixup": 0.0,
}
"""Settings that are not among the facts where they have these values."""


@dataclass(frozen=True)
class Phase:
    """Epochs with one optimizer at one learning rate.

    Attributes
    ----------
    epochs : int >= 1
        Number of epochs.
    optimizer : {"adam", "sgd"}
        SGD has Nesterov momentum.
    lr : float > 0
        Learning rate.
    new_optimizer : bool
        Whether the phase starts with a new optimizer; otherwise the previous one, with its
        momentum, continues at the new rate.
    streams : tuple of str or None
        Streams that are read; None for all of the objective's.
    """

    epochs: int
    optimizer: Optimizer
    lr: float
    new_optimizer: bool = True
    streams: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Plateau:
    """A learning rate that falls where the validation metric does not rise.

    As ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with its relative threshold of 1e-4.

    Attributes
    ----------
    factor : float, 0 < factor < 1
        Factor of the learning rate.
    patience : int >= 0
        Epochs without a better one that are tolerated.
    """

    factor: float
    patience: int


@dataclass(frozen=True)
class Masks:
    """Blocks of a spectrogram that are masked in training (SpecAugment), with its mean.

    Attributes
    ----------
    bands : int >= 0
        Greatest height of a block of bands; each is uniform from 0 on.
    seconds : float >= 0
        Greatest width of a block of frames.
    count : int >= 1
        Blocks of each kind.
    """

    bands: int
    seconds: float
    count: int = 1


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained.

    Attributes
    ----------
    name : str
        Name, as after ``--recipe``.
    phases : tuple of Phase
        Phases in order.
    batch_size : int >= 1
        Clips per step.
    unlabeled_batch_size : int >= 1
        Unlabeled clips per step, where an objective reads some.
    weight_decay : float >= 0
        L2 penalty, added to the gradient, in every phase.
    momentum : float
        Momentum of SGD.
    epsilon : float
        Adam's epsilon.
    select : {"metric", "loss", "last"}
        Whether the best epoch is that of the best metric on validation clips, or of the lowest
        mean loss of their chunks; or the last one is used, without validation clips.
    ties : {"first", "loss"}
        Among epochs with the same metric, take the first, or that of the lowest validation loss.
        With few validation clips there are many ties.
    burn_in : int >= 0
        Number of epochs before the first that may be selected.
    max_valid_loss : float or None
        Epochs with a validation loss of at least this are never selected.
    chunk_policy : {"cover", "won", "middle"}
        Chunks that are scored; see :func:`probekit.training.dataloader.evaluation_batches`.
    patience : int or None
        Training stops after this many epochs without an improvement; None: never.
    restore_best : bool
        Whether each phase but the first starts with the best weights so far, or goes on with those
        of the last epoch.
    decays_biases : bool
        Whether the L2 penalty holds for biases and shifts of batch normalization, too.
    score_test : bool
        Whether test clips are scored after every epoch, for learning curves and for tables of
        papers that state such scores; nothing is selected by them.
    sampler : {"shuffle", "rounds"}
        An epoch has each training clip once, or one clip of each class in turn
        (:class:`probekit.training.class_rounds.ClassRounds`).
    steps : int or None
        Steps of an epoch, that is, from one validation to the next; None for one pass over the
        training clips. ``rounds`` only.
    plateau : Plateau or None
        How the learning rate falls within a phase; None if it stays.
    amsgrad : bool
        Whether Adam is AMSGrad.
    masks : Masks or None
        What is masked of the spectra; ``weak-labels`` only.
    mixup : float >= 0
        Clips are averaged in pairs with shares of Beta(mixup, mixup); 0 for none; ``weak-labels``
        only.
    """

    name: str
    phases: tuple[Phase, ...]
    batch_size: int = 16
    unlabeled_batch_size: int = 32
    weight_decay: float = 1e-4
    momentum: float = 0.9
    epsilon: float = 1e-8
    select: Literal["metric", "loss", "last"] = "metric"
    ties: Literal["first", "loss"] = "first"
    burn_in: int = 0
    max_valid_loss: float | None = None
    chunk_policy: Literal["cover", "won", "middle"] = "cover"
    patience: int | None = None
    restore_best: bool = True
    score_test: bool = False
    decays_biases: bool = True
    sampler: Literal["shuffle", "rounds"] = "shuffle"
    steps: int | None = None
    plateau: Plateau | None = None
    amsgrad: bool = False
    masks: Masks | None = None
    mixup: float = 0.0

    @property
    def epochs(self) -> int:
        """Maximum number of epochs."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> int:
        """Return the index of the phase of an epoch (from 0)."""
        ends = accumulate(phase.epochs for phase in self.phases)
        return next(k for k, end in enumerate(ends) if epoch < end)

    def is_phase_start(self, epoch: int) -> bool:
        """Tell whether a phase other than the first starts with an epoch (from 0)."""
        return epoch > 0 and self.phase_at(epoch) != self.phase_at(epoch - 1)

    def facts(self) -> dict[str, Any]:
        """Return all settings as plain values, under the keys by which they are stored.

        Settings that were added later are left out where they have their defaults, so that the
        names of runs stay.
        """

        def with_stored_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
            return {
                _STORED_KEYS.get(name, name): value
                for name, value in items
                if name not in _LATER_DEFAULTS or _LATER_DEFAULTS[name] != value
            }

        return asdict(self, dict_factory=with_stored_keys)


def get_recipe(
    name: str,
    metric: str,
    *,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    warm_up: int | None = None,
    steps: int | None = None,
) -> TrainingRecipe:
    """Return a recipe for a task.

    ``won`` follows the published code of Won et al. for MagnaTagATune: batches of 16 random crops;
    80 epochs of Adam at 1e-4, then, each from the best weights so far, 20 of SGD (Nesterov momentum
    0.9) at 1e-3, 20 at 1e-4 and 80 at 1e-5 with the same optimizer; weight decay 1e-4; the best
    epoch has the lowest mean validation loss, if below 1; 16 chunks per clip that do not reach its
    end; no early stopping. For tasks scored by the mean F1 of clips (DCASE2017) the best epoch has
    the highest F1, from the eleventh on. That the phases are the same for DCASE2017 is not
    established. ``hung2022`` is the same but for the best epoch, which has the best metric on every
    task: the paper selects "based on the validation metric for each task", and takes the rest from
    Won et al. ``lee2019`` is that of a CF estimator, as far as the poster leaves it to us: batches
    of 64, Adam at 1e-3, no weight decay, the epoch with the lowest validation loss, a patience of
    10 epochs, and the middle of each clip in scoring. ``lee2021`` has 20 epochs of Adam at 1e-4
    without unlabeled clips, then 100 at 1e-5 with a new Adam; batches of 8 labeled and 32 unlabeled
    clips; no weight decay and no validation: the last epoch is used, and test clips are scored
    after every epoch. ``lee2021-supervised`` has 200 epochs at 1e-4. On UrbanSound8K the paper has
    10 epochs without unlabeled clips (``--warm-up 10``).

    ``kim2018`` has 200 epochs of Adam at 1e-3 for each target, batches of 64, an L2 penalty of 1e-5
    on all weights but biases, and no validation: the last epoch is used.

    Recipes of weak labels draw one clip of each class in turn, and validate every 1,000 steps
    (2,000 of ``panns``), here called an epoch; the one with the best metric is used. ``cmu2019`` is
    TALNet's: Adam at 1e-3, times 0.8 after more than 3 validations without a better one, batches of
    250, at most 30 epochs, no weight decay. ``kumar2021`` adds SpecAugment: one block of at most 16
    bands, one of at most 2 s; that it goes on for 60 epochs, that widths are uniform, and that the
    mean fills is ours. ``panns`` has batches of 32 clips, each mixed with another one of the batch
    (shares uniform from 0 to 1; the original mixes 64 clips to 32 pairs), two blocks of at most 8
    bands and two of at most 0.64 s, and AMSGrad at 1e-3, constant, for 300 epochs. ``self-taught``,
    for WEANet, whose training is not published, is ours: ``kumar2021`` with batches of 128 and 8
    bands.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`.
    metric : str
        Metric of the task.
    epochs : int >= 1, optional
        Number of epochs instead of the recipe's, divided among the phases in the same ratio, at
        least one each.
    batch : int >= 2, optional
        Batch size instead of the recipe's.
    lr : float > 0, optional
        Learning rate of the first phase; the others keep their ratio to it.
    warm_up : int >= 1, optional
        Number of epochs of a first phase that leaves streams out, instead of the recipe's; it is
        part of ``epochs`` if both are given.
    steps : int >= 1, optional
        Steps from one validation to the next instead of the recipe's, for those of weak labels.

    Raises
    ------
    ProbekitError
        If there is no such recipe, or a number is out of range.
    """
    if name not in NAMES:
        raise unknown_name_error("recipe", name, NAMES)
    if name.startswith("lee2021"):
        recipe = _lee2021(name)
    elif name == "lee2019":
        recipe = _lee2019()
    elif name == "kim2018":
        recipe = _kim2018()
    elif name in WEAK_LABELS:
        recipe = _weak_labels(name)
    else:
        recipe = _default() if name == "default" else _won2020(name, metric)
    if warm_up is not None:
        if recipe.phases[0].streams is None:
            raise ProbekitError(f"recipe {name!r} has no warm-up; leave --warm-up out")
        if warm_up < 1:
            raise ProbekitError(f"--warm-up must be >= 1 epoch, got {warm_up}")
    if epochs is not None:
        first = warm_up or 1
        fewest = first + len(recipe.phases) - 1
        if epochs < fewest:
            needed = "one per phase" if first == 1 else f"{first} of them without unlabeled clips"
            raise ProbekitError(
                f"--epochs must be >= {fewest} for recipe {name!r}, {needed}, got {epochs}"
            )
        burn_in = min(recipe.burn_in * epochs // recipe.epochs, epochs - 1)
        if warm_up is None:
            phases = _split_epochs(recipe.phases, epochs)
        else:
            others = _split_epochs(recipe.phases[1:], epochs - warm_up)
            phases = (replace(recipe.phases[0], epochs=warm_up), *others)
        recipe = replace(recipe, burn_in=burn_in, phases=phases)
    elif warm_up is not None:
        first_phase = replace(recipe.phases[0], epochs=warm_up)
        recipe = replace(recipe, phases=(first_phase, *recipe.phases[1:]))
    if batch is not None:
        if batch < 2:  # pairs within a batch, and batch normalization, need two
            raise ProbekitError(f"--batch must be >= 2, got {batch}")
        recipe = replace(recipe, batch_size=batch)
    if steps is not None:
        if recipe.steps is None:
            raise ProbekitError(
                f"--steps is for recipes of weak labels ({', '.join(WEAK_LABELS)}); an epoch of "
                f"{name!r} has each clip once. Leave it out"
            )
        if steps < 1:
            raise ProbekitError(f"--steps must be >= 1, got {steps}")
        recipe = replace(recipe, steps=steps)
    if lr is not None:
        if not lr > 0:
            raise ProbekitError(f"--lr must be > 0, got {lr:g}")
        ratio = lr / recipe.phases[0].lr
        phases = tuple(replace(phase, lr=phase.lr * ratio) for phase in recipe.phases)
        recipe = replace(recipe, phases=phases)
    return recipe


def describe_changes(recipe: TrainingRecipe, metric: str) -> list[str]:
    """Return a recipe's name unless it is ``default``, and the numbers that were changed."""
    original = get_recipe(recipe.name, metric)
    words = [f"recipe {recipe.name}"] * (recipe.name != "default")
    if recipe.epochs != original.epochs:
        words.append(f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}")
    if recipe.batch_size != original.batch_size:
        words.append(f"batch {recipe.batch_size}")
    if recipe.steps != original.steps:
        words.append(f"{recipe.steps} steps an epoch")
    if recipe.phases[0].lr != original.phases[0].lr:
        words.append(f"lr {recipe.phases[0].lr:g}")
    return words


def _default() -> TrainingRecipe:
    return TrainingRecipe("default", (Phase(200, "adam", 1e-3),), ties="loss", patience=20)


def _kim2018() -> TrainingRecipe:
    """Return the recipe of kim2018's code: its L2 penalty of 1e-5 is a decay of 2e-5 in torch."""
    return TrainingRecipe(
        "kim2018",
        (Phase(200, "adam", 1e-3),),
        batch_size=64,
        weight_decay=2e-5,
        decays_biases=False,
        select="last",
        restore_best=False,
    )


def per_target(recipe: TrainingRecipe, targets: int) -> TrainingRecipe:
    """Return kim2018's recipe with as many times the epochs as there are targets, else as it is."""
    if recipe.name != "kim2018":
        return recipe
    phases = tuple(replace(phase, epochs=phase.epochs * targets) for phase in recipe.phases)
    return replace(recipe, phases=phases)


def _weak_labels(name: str) -> TrainingRecipe:
    """Return recipes of weak labels; see :func:`get_recipe` for what is not established."""
    recipe = TrainingRecipe(
        name,
        (Phase(30, "adam", 1e-3),),
        batch_size=250,
        weight_decay=0.0,
        chunk_policy="middle",
        sampler="rounds",
        steps=1000,
        plateau=Plateau(0.8, 3),
    )
    if name == "kumar2021":
        return replace(recipe, phases=(Phase(60, "adam", 1e-3),), masks=Masks(16, 2.0))
    if name == "self-taught":
        phases = (Phase(60, "adam", 1e-3),)
        return replace(recipe, phases=phases, batch_size=128, masks=Masks(8, 2.0))
    if name == "panns":
        return replace(
            recipe,
            phases=(Phase(300, "adam", 1e-3),),
            batch_size=32,
            steps=2000,
            plateau=None,
            amsgrad=True,
            masks=Masks(8, 0.64, count=2),
            mixup=1.0,
        )
    return recipe


def _lee2019() -> TrainingRecipe:
    return TrainingRecipe(
        "lee2019",
        (Phase(200, "adam", 1e-3),),
        batch_size=64,
        weight_decay=0.0,
        select="loss",
        chunk_policy="middle",
        patience=10,
    )


def _lee2021(name: str) -> TrainingRecipe:
    """Return the recipes of lee2021; what the paper leaves open is as Keras has it."""
    warm_up = Phase(20, "adam", 1e-4, streams=("labeled",))
    contrastive = (warm_up, Phase(100, "adam", 1e-5))
    return TrainingRecipe(
        name,
        contrastive if name == "lee2021" else (Phase(200, "adam", 1e-4),),
        batch_size=8,
        weight_decay=0.0,
        epsilon=1e-7,
        select="last",
        restore_best=False,
        score_test=True,
    )


def _won2020(name: str, metric: str) -> TrainingRecipe:
    phases = (
        Phase(80, "adam", 1e-4),
        Phase(20, "sgd", 1e-3),
        Phase(20, "sgd", 1e-4, new_optimizer=False),
        Phase(80, "sgd", 1e-5, new_optimizer=False),
    )
    recipe = TrainingRecipe(name, phases, chunk_policy="won")
    if metric.partition("@")[0] == _F1:
        return replace(recipe, burn_in=_F1_BURN_IN)
    if name == "won":
        return replace(recipe, select="loss", max_valid_loss=1.0)
    return recipe


def _split_epochs(phases: Sequence[Phase], epochs: int) -> tuple[Phase, ...]:
    """Return phases with their shares of another number of epochs, each at least one."""
    total = sum(phase.epochs for phase in phases)
    counts = [max(1, epochs * phase.epochs // total) for phase in phases]
    counts[0] += max(0, epochs - sum(counts))
    while sum(counts) > epochs:  # the longest makes room for those that would have none
        counts[counts.index(max(counts))] -= 1
    return tuple(replace(p, epochs=n) for p, n in zip(phases, counts, strict=True))
