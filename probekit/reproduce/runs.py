"""The runs that a paper's scores come from: of probes and of students, each made once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cards.paper import Setting
from probekit.cards.selector import parse_selectors
from probekit.errors import ProbekitError
from probekit.probes.evaluate import evaluate
from probekit.probes.presets import apply_preset
from probekit.reproduce.assets import Resources
from probekit.scores.store import Result

Epochs = Callable[[str, int, int, str], None]
_NAMES_A_RUN = (
    "task", "embedding", "preset", "probe", "fraction", "student", "method", "alpha", "init",
    "recipe", "alignment",
)  # fmt: skip


@dataclass
class Runs:
    """Makes the runs that scores and figures ask for, and remembers them.

    Attributes
    ----------
    supply : Supply
        Data, cache and weights.
    reports : pathlib.Path
        Where results are kept.
    jobs : int >= 1
        Processes for the folds of a probe.
    epochs : int or None
        Of students, other than their recipe's; what comes of it says so.
    rehearsed : bool
        Whether students are trained as shortly as their recipe allows, where ``epochs`` does not
        say how long.
    tell : callable
        Called with what is done next.
    watch : callable, optional
        Called while a student is trained: its name, epochs done, epochs at most, numbers.
    """

    supply: Resources
    reports: Path
    jobs: int = 1
    epochs: int | None = None
    rehearsed: bool = False
    tell: Callable[[str], None] = lambda text: None
    watch: Epochs | None = None

    def __post_init__(self) -> None:
        self._made: dict[tuple[Any, ...], Result | ProbekitError] = {}

    def get_run(self, setting: Setting, frames: bool = False) -> Result:
        """Return the run that a setting asks for; several metrics are of one run.

        Parameters
        ----------
        setting : Setting
            Of a probe or a student.
        frames : bool
            Whether frames are to be extracted, too; a student's teachers always need them.

        Returns
        -------
        Result
            As it is kept.

        Raises
        ------
        ProbekitError
            If it cannot be made; the same again when it is asked for again.
        """
        key = tuple(getattr(setting, name) for name in _NAMES_A_RUN)
        if key not in self._made:
            try:
                made = self._student(setting) if setting.student else self._probe(setting, frames)
                self._made[key] = made
            except ProbekitError as error:
                self._made[key] = error
        found = self._made[key]
        if isinstance(found, ProbekitError):
            raise found
        return found

    def missing(self, setting: Setting) -> list[str]:
        """Say what a run needs that is not here, and how to get it; nothing if it is all here.

        Parameters
        ----------
        setting : Setting
            Of a probe or a student.

        Returns
        -------
        list of str
            As :meth:`probekit.reproduce.assets.Resources.lacking`.
        """
        return self.supply.missing(
            setting.task, setting.embedding, first=setting.init, heard=bool(setting.student)
        )

    def _probe(self, setting: Setting, frames: bool) -> Result:
        self.tell(f"{setting.task}, {setting.embedding}")
        embedding, _ = apply_preset(setting.preset, setting.embedding)
        [result] = evaluate(
            setting.task,
            [self.supply.embedding(setting.task, embedding, frames=frames)],
            cache=self.supply.cache,
            root=self.supply.root(setting.task),
            reports=self.reports,
            probe=setting.probe,
            preset=setting.preset,
            fractions=(setting.fraction,),
            jobs=self.jobs,
        )
        return result

    def _student(self, setting: Setting) -> Result:
        """Train a student; where that was shortened, its result says so."""
        from probekit.distillation import distill  # imports torch

        epochs, said = self._length(setting)
        name = student_name(setting)
        share = "" if setting.fraction == 1 else f", {100 * setting.fraction:g} % of the labels"
        self.tell(f"{setting.task}, {setting.student}, {name}{share}")
        teachers = setting.embedding and self.supply.embedding(
            setting.task, setting.embedding, frames=True
        )
        [result] = distill.distill(
            setting.task,
            setting.student,
            [str(one) for one in parse_selectors(teachers)] if teachers else (),
            method=setting.method,
            alpha=setting.alpha,
            cache=self.supply.cache,
            root=self.supply.root(setting.task),
            reports=self.reports,
            recipe=setting.recipe,
            epochs=epochs,
            alignment=setting.alignment,
            init=setting.init,
            weights=self.supply.weights_of(setting.init) if setting.init else (),
            fractions=(setting.fraction,),
            device=self.supply.device,
            name=name,
            progress=self.watch,
        )
        return {**result, "provenance": [*result["provenance"], *said]}

    def _length(self, setting: Setting) -> tuple[int | None, list[str]]:
        """Return the epochs of a student, and what must be said about them."""
        from probekit.training import schedules as training

        whole = training.get_recipe(setting.recipe, cards.load_task_card(setting.task).metric)
        epochs = self.epochs or (len(whole.phases) if self.rehearsed else None)
        if epochs in (None, whole.epochs):
            return None, []
        shown = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        return epochs, [f"trained for {shown}, recipe {whole.name} has {whole.epochs}"]


def student_name(setting: Setting) -> str:
    """Return what to call a student's runs: the same for all shares of the labels.

    Parameters
    ----------
    setting : Setting
        Of a student.

    Returns
    -------
    str
        Method, and teachers as the card names them.
    """
    alpha = "" if setting.alpha is None else f", alpha {setting.alpha:g}"
    of = " + ".join(str(one) for text in setting.networks for one in parse_selectors(text))
    return f"{setting.method}{alpha}{f' ({of})' if of else ''}"
