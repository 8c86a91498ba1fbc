"""Runs behind a paper's scores: of probes, students and networks, each computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from probekit import cards
from probekit.cards.paper import Setting
from probekit.cards.selector import parse_selectors
from probekit.probes.evaluate import evaluate
from probekit.probes.presets import apply_preset
from probekit.reproduce.artist_networks import (
    REHEARSED,
    ArtistNetworks,
    Combination,
    NetworkSettings,
    mean_result,
)
from probekit.reproduce.assets import Assets
from probekit.reproduce.outcomes import Outcomes
from probekit.scores.store import Result

REHEARSED_WIDTH = 4
"""Width of networks in a rehearsal."""

_READ = 2.0  # seconds; a run that takes less was read from results, and tells nothing of others
_TIMED = 3  # runs after which the time that is left is estimated
EpochProgress = Callable[[str, int, int, str], None]
_RUN_FIELDS = (  # of a setting: what distinguishes runs
    "task", "embedding", "preset", "probe", "fraction", "student", "method", "alpha", "init",
    "recipe", "alignment", "network", "objective", "unlabeled", "mixing", "warm_up",
    "targets", "sharing",
)  # fmt: skip


@dataclass
class Runs:
    """Runs by setting, computed on demand.

    Attributes
    ----------
    assets : Assets
        Cache, recordings and weights.
    reports : pathlib.Path
        Where results are stored.
    jobs : int >= 1
        Processes for the folds of a probe, and for networks on several targets.
    dask : str or None
        Dask cluster in place of processes.
    epochs : int or None
        Epochs of students, instead of their recipe's; their results say so.
    rehearsed : bool
        Whether students without ``epochs`` are trained as briefly as their recipe allows.
    report_step : callable
        Called with a description of each run before it starts.
    progress : callable, optional
        Called while a student is trained: its name, epochs done, epochs at most, numbers.
    total : int
        Number of different runs, for the descriptions; 0 if not known.
    """

    assets: Assets
    reports: Path
    jobs: int = 1
    dask: str | None = None
    epochs: int | None = None
    rehearsed: bool = False
    report_step: Callable[[str], None] = lambda text: None
    progress: EpochProgress | None = None
    total: int = 0

    def __post_init__(self) -> None:
        self._outcomes: Outcomes[Result] = Outcomes()
        self._artist_networks: dict[str, ArtistNetworks] = {}
        self._seconds: list[float] = []  # of the runs that were computed

    def prepare(self, settings: Sequence[Setting]) -> None:
        """Compute networks on several targets side by side, if there are processes for it."""
        if self.jobs == 1 and self.dask is None:
            return
        combinations: dict[str, list[Combination]] = {}
        for setting in settings:
            if setting.targets and not self.missing(setting):
                assert setting.sharing  # the schema requires it
                sharing: str = setting.sharing
                pairs = [(letters, sharing) for letters in split_targets(setting)]
                combinations.setdefault(setting.task, []).extend(pairs)
        for task, pairs in combinations.items():
            self._networks(task).prepare(pairs, self.jobs, self.dask)

    def get_run(self, setting: Setting, frames: bool = False) -> Result:
        """Return the run of a setting; several metrics share one run.

        Parameters
        ----------
        setting : Setting
            Of a probe, a student or a network.
        frames : bool
            Whether frames are to be extracted as well; a student's teachers always need them.

        Raises
        ------
        ProbekitError
            If it cannot be computed; the same again if it is requested again.
        """
        return self._outcomes.get(run_key(setting), lambda: self._time(setting, frames))

    def _time(self, setting: Setting, frames: bool) -> Result:
        """Compute the run of a setting, and note the time that it takes."""
        start = monotonic()
        try:
            return self._compute(setting, frames)
        finally:
            self._seconds.append(monotonic() - start)

    def _compute(self, setting: Setting, frames: bool) -> Result:
        """Compute the run of a setting."""
        if setting.targets:
            return self._score_targets(setting)
        if setting.network:
            return self._train_network(setting)
        if setting.student:
            return self._train_student(setting)
        return self._evaluate_probe(setting, frames)

    def missing(self, setting: Setting) -> list[str]:
        """Say what a run needs that is missing, and how to get it; see :class:`Assets`."""
        messages = self.assets.missing(
            setting.task, setting.embedding, init=setting.init, audio=setting.trains
        )
        if setting.unlabeled_task:
            messages += self.assets.missing(setting.unlabeled_task, "", audio=True)
        return list(dict.fromkeys(messages))

    def _report_run(self, text: str) -> None:
        """Describe a run before it starts, with its number and the time that is left."""
        done = len(self._outcomes)
        number = f" ({done + 1} of {self.total}{self._time_left(done)})" if self.total else ""
        self.report_step(text + number)

    def _time_left(self, done: int) -> str:
        """Return the time that is left, at the mean of the runs so far; empty if not known."""
        computed = [seconds for seconds in self._seconds if seconds > _READ]
        if len(computed) < _TIMED:
            return ""
        minutes = sum(computed) / len(computed) * (self.total - done) / 60
        left = f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.0f} h"
        return f", about {left} left"

    def _report_training(self, setting: Setting, network: str, name: str) -> None:
        """Describe the training of a network before it starts."""
        labels = "" if setting.fraction == 1 else f", {100 * setting.fraction:g} % of the labels"
        self._report_run(f"{setting.task}, {network}, {name}{labels}")

    def _score_targets(self, setting: Setting) -> Result:
        """Return the result of a combination of targets, or the means of several."""
        networks = self._networks(setting.task)
        assert setting.sharing  # the schema requires it
        results = [networks.evaluate(each, setting.sharing) for each in split_targets(setting)]
        return results[0] if len(results) == 1 else mean_result(results)

    def _networks(self, task: str) -> ArtistNetworks:
        """Return the networks of a task, which are kept; tiny ones in a rehearsal."""
        if task not in self._artist_networks:
            settings = REHEARSED if self.rehearsed else NetworkSettings()
            if self.epochs is not None:
                settings = replace(settings, epochs=self.epochs)
            self._artist_networks[task] = ArtistNetworks(
                task,
                self.assets.cache,
                self.reports,
                self.assets.root(task),
                settings,
                stand_ins={"e": "mfcc"} if self.rehearsed else {},
                device=self.assets.device,
                report_step=self.report_step,
                progress=self.progress,
            )
        return self._artist_networks[task]

    def _evaluate_probe(self, setting: Setting, frames: bool) -> Result:
        """Evaluate a probe."""
        self._report_run(f"{setting.task}, {setting.embedding}")
        embedding, _ = apply_preset(setting.preset, setting.embedding)
        [result] = evaluate(
            setting.task,
            [self.assets.embedding(setting.task, embedding, frames=frames)],
            cache=self.assets.cache,
            root=self.assets.root(setting.task),
            reports=self.reports,
            probe=setting.probe,
            preset=setting.preset,
            fractions=(setting.fraction,),
            jobs=self.jobs,
            dask=self.dask,
        )
        return result

    def _train_student(self, setting: Setting) -> Result:
        """Train a student; if it was trained for fewer epochs, its provenance says so."""
        from probekit.distillation.distill import distill  # imports torch

        epochs, notes = self._training_epochs(setting)
        name = student_name(setting)
        self._report_training(setting, setting.student, name)
        teachers = setting.embedding and self.assets.embedding(
            setting.task, setting.embedding, frames=True
        )
        [result] = distill(
            setting.task,
            setting.student,
            [str(selector) for selector in parse_selectors(teachers)] if teachers else (),
            method=setting.method,
            alpha=setting.alpha,
            cache=self.assets.cache,
            root=self.assets.root(setting.task),
            reports=self.reports,
            recipe=setting.recipe,
            epochs=epochs,
            alignment=setting.alignment,
            init=setting.init,
            weights=self.assets.weights_of(setting.init) if setting.init else (),
            fractions=(setting.fraction,),
            device=self.assets.device,
            name=name,
            progress=self.progress,
        )
        return {**result, "provenance": [*result["provenance"], *notes]}

    def _train_network(self, setting: Setting) -> Result:
        """Train a network; its provenance says what is not the card's.

        In a rehearsal it is narrow and has no initial weights, since these are not so narrow.
        """
        from probekit.training.train import train  # imports torch

        epochs, notes = self._training_epochs(setting)
        network, init = setting.network, setting.init
        if self.rehearsed and ":" not in network:
            network, init = f"{network}:width={REHEARSED_WIDTH}", ""
            notes.append(f"{network} with random weights in place of {setting.network}")
        self._report_training(setting, network, setting.name)
        root = self.assets.root(setting.unlabeled_task) if setting.unlabeled_task else None
        [result] = train(
            setting.task,
            network,
            objective=setting.objective,
            unlabeled=setting.unlabeled,
            unlabeled_root=root,
            allow_overlap=True,  # as published: test clips' recordings have unlabeled excerpts
            mixing=setting.mixing,
            cache=self.assets.cache,
            root=self.assets.root(setting.task),
            reports=self.reports,
            recipe=setting.recipe,
            epochs=epochs,
            warm_up=None if epochs else setting.warm_up,
            init=init,
            weights=self.assets.weights_of(init) if init else (),
            fractions=(setting.fraction,),
            device=self.assets.device,
            name=setting.name,
            progress=self.progress,
        )
        return {**result, "provenance": [*result["provenance"], *notes]}

    def _training_epochs(self, setting: Setting) -> tuple[int | None, list[str]]:
        """Return the epochs of a student, None for the recipe's, and a note on fewer ones."""
        from probekit.training.schedules import get_recipe

        metric = cards.load_task_card(setting.task).metric
        recipe = get_recipe(setting.recipe, metric, warm_up=setting.warm_up)
        epochs = self.epochs or (len(recipe.phases) if self.rehearsed else None)
        if epochs in (None, recipe.epochs):
            return None, []
        text = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        return epochs, [f"trained for {text}, recipe {recipe.name} has {recipe.epochs}"]


def split_targets(setting: Setting) -> list[str]:
    """Return the combinations of a setting; a network of several targets has at least two."""
    combinations = setting.targets.split()
    return [each for each in combinations if setting.sharing != "mtn" or len(each) > 1]


def run_key(setting: Setting) -> tuple[Any, ...]:
    """Return what distinguishes the run of a setting from others."""
    return tuple(getattr(setting, name) for name in _RUN_FIELDS)


def student_name(setting: Setting) -> str:
    """Return the name of a student's runs: method and teachers, for all fractions of the labels."""
    alpha = "" if setting.alpha is None else f", alpha {setting.alpha:g}"
    networks = [str(s) for text in setting.networks for s in parse_selectors(text)]
    return f"{setting.method}{alpha}" + (f" ({' + '.join(networks)})" if networks else "")
