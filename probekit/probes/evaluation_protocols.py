"""Evaluation protocols besides a task's own: those of other tools, and single departures from it.

The field's tools score the same embeddings by different rules. Here are the rules of four of them,
our own code after the facts of the versions named, so that one of their numbers can be met on the
same footing; and the task's own protocol with one thing changed, which is what that thing costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from probekit.cards import Protocol, TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import ProtocolError
from probekit.probes import protocol_probes, protocol_splits
from probekit.probes.base import Probe
from probekit.probes.few_shot import few_shot
from probekit.probes.linear import Linear
from probekit.probes.transforms import STANDARD
from probekit.tasks.splits import Split
from probekit.utils.suggest import unknown_name_error

Divide = Callable[[Protocol, Manifest, Manifest, int], list[Split]]
Adapt = Callable[[Protocol, Manifest], Protocol]

TASK = "task"
"""What the task's own protocol is called in an audit."""


def _as_is(protocol: Protocol, clips: Manifest) -> Protocol:
    return protocol


def _ungrouped(protocol: Protocol, clips: Manifest) -> Protocol:
    return protocol_splits.ungroup(protocol)


@dataclass(frozen=True)
class EvaluationProtocol:
    """Rules by which embeddings are scored.

    Attributes
    ----------
    name : str
        As after ``--protocol``.
    title : str
        For tables and figures.
    source : str
        Tool and version whose rules these are, and the files in which they were read; empty for a
        departure from the task's own.
    clips, standardization, selection, fit : str
        Which clips are trained on and tested, what is done to features, what chooses settings or
        epochs, what is fitted, in words.
    leaks : tuple of str
        What test clips influence by these rules, whatever the task.
    divide : callable
        Makes the splits from the task's protocol, the clips with embeddings, all clips and a seed.
    make_probe : callable
        Returns the probe.
    adapt : callable
        Changes the task's protocol before it is divided.
    refit : bool
        Whether the probe is refitted as the task's card says; else training clips alone are fitted.
    steps : tuple of str
        Transforms of features before the probe.
    targets : tuple of str
        Kinds of targets that it has rules for.
    refusal : str
        What the tool does instead with several labels a clip, where it is not the same.
    seeds : tuple of int
        Each is a run; their mean is the score.
    version : int
        Raised where scores change.
    """

    name: str
    title: str
    source: str
    clips: str
    standardization: str
    selection: str
    fit: str
    divide: Divide
    make_probe: Callable[[], Probe]
    leaks: tuple[str, ...] = ()
    adapt: Adapt = _as_is
    refit: bool = False
    steps: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("single",)
    refusal: str = ""
    seeds: tuple[int, ...] = (0,)
    version: int = 1

    @property
    def is_departure(self) -> bool:
        """Whether it is the task's own protocol with one thing changed."""
        return not self.source

    @property
    def description(self) -> str:
        """The rules in a sentence."""
        rules = "; ".join((self.clips, self.standardization, self.selection, self.fit))
        return f"{self.source or self.title}: {rules}"

    def of_task(self, card: TaskCard, clips: Manifest) -> Protocol:
        """Return the protocol of a task that these rules make of its own.

        Raises
        ------
        ProtocolError
            If the task cannot have these rules.
        """
        if clips.target not in self.targets:
            kinds = {"single": "one label", "multi": "several labels", "regression": "numbers"}
            known = " or ".join(kinds[target] for target in self.targets)
            raise ProtocolError(
                f"{card.name}: --protocol {self.name} has rules for clips of {known}, and these "
                f"have {kinds.get(clips.target, 'none')}"
                f"{f'; {self.refusal}' if self.refusal and clips.target == 'multi' else ''}"
            )
        try:
            protocol = self.adapt(card.protocol, clips)
        except ProtocolError as error:
            raise ProtocolError(f"{card.name}: --protocol {self.name}: {error}") from error
        update: dict[str, Any] = {"description": self.description}
        return protocol.model_copy(update=update if self.refit else {**update, "refit": False})

    def splits(
        self, card: TaskCard, clips: Manifest, all_clips: Manifest, seed: int
    ) -> list[Split]:
        """Return the splits of a task's clips; a ProtocolError if it cannot have these rules."""
        protocol = self.of_task(card, clips)
        # what the probe is fitted on by the task's own rules, not by these
        fitted = protocol.model_copy(update={"refit": card.protocol.refit})
        return self.divide(fitted, clips, all_clips, seed)

    def facts(self) -> dict[str, Any]:
        """Return what names the rules in a run's id."""
        return {"name": self.name, "version": self.version}


_TASK_CLIPS = "the task's own folds or split"
_ALL_TARGETS = ("single", "multi")
_NETWORKS = protocol_probes.NetworkProbe

PEERS = (
    EvaluationProtocol(
        name="hear",
        title="HEAR",
        source="HEAR (hear-eval-kit 8559649)",
        clips="the task's folds, of which the next one validates, or its split",
        standardization="none",
        selection="one of 8 of 16 settings, on one validation fold, kept for all folds; the epoch "
        "on each validation fold",
        fit="an MLP of one or two layers of 1,024, dropout, batch normalization, at most 500 "
        "epochs of Adam",
        divide=protocol_splits.next_fold_validates,
        make_probe=protocol_probes.hear_probe,
        adapt=_ungrouped,
        targets=_ALL_TARGETS,
        seeds=(42,),
    ),
    EvaluationProtocol(
        name="mteb",
        title="MTEB, 5 shuffled folds",
        source="MTEB 2.26.24 (a905523)",
        clips="5 folds of all clips, shuffled, official folds and groups ignored; 8 labeled clips "
        "of each class",
        standardization="none",
        selection="none, C = 1",
        fit="scikit-learn's logistic regression, at most 100 iterations",
        divide=protocol_splits.shots_of_shuffled_folds,
        make_probe=protocol_probes.RawLogistic,
        leaks=("groups and official folds are ignored",),
        refusal="MTEB draws ten times from the training clips of these: use --protocol mteb-draws",
    ),
    EvaluationProtocol(
        name="mteb-draws",
        title="MTEB, 10 draws",
        source="MTEB 2.26.24 (a905523)",
        clips="the task's split; 10 draws of 8 labeled clips of each class (of several labels a "
        "clip: of clips until each label has 8)",
        standardization="none",
        selection="none, C = 1",
        fit="scikit-learn's logistic regression, at most 100 iterations",
        divide=protocol_splits.draw_of_shots,
        make_probe=protocol_probes.RawLogistic,
        adapt=_ungrouped,
        targets=_ALL_TARGETS,
        seeds=tuple(range(10)),
    ),
    EvaluationProtocol(
        name="xares",
        title="X-ARES, linear",
        source="X-ARES 161f0ef",
        clips="the task's folds or split",
        standardization="layer normalization of each clip, scale and offset learned",
        selection="the best of 10 epochs, on the test fold (on validation clips of a split)",
        fit="a linear layer, Adam at 1e-3 with cosine decay, batches of 32",
        divide=protocol_splits.test_fold_validates,
        make_probe=partial(_NETWORKS, "xares-linear", (protocol_probes.XARES,)),
        adapt=_ungrouped,
        targets=_ALL_TARGETS,
        seeds=(42,),
    ),
    EvaluationProtocol(
        name="xares-knn",
        title="X-ARES, kNN",
        source="X-ARES 161f0ef",
        clips="the task's folds or split",
        standardization="unit length",
        selection="none",
        fit="10 nearest neighbors by cosine, softmax weights at a temperature of 0.07",
        divide=protocol_splits.task_splits,
        make_probe=protocol_probes.SoftNeighbors,
        adapt=_ungrouped,
        refusal="X-ARES runs no nearest neighbors on these: use --protocol xares",
    ),
    EvaluationProtocol(
        name="evar",
        title="EVAR",
        source="EVAR 88ba772",
        clips="the task's folds or split, three times",
        standardization="mean and variance of training clips (before any are drawn to validate)",
        selection="the epoch, on validation clips: those of the task, or a random tenth of "
        "training clips, groups ignored",
        fit="a linear layer, Adam at 3e-4, cross-entropy divided by the number of classes, at most "
        "200 epochs",
        divide=protocol_splits.random_tenth_validates,
        make_probe=partial(_NETWORKS, "evar-linear", (protocol_probes.EVAR,)),
        adapt=_ungrouped,
        targets=_ALL_TARGETS,
        seeds=(42, 43, 44),
        version=2,
    ),
)

_LINEAR = "linear probe"
_STANDARDIZED = "mean and variance of training clips"
_OWN_SELECTION = "C as by the task's own protocol"
_EVERY_TARGET = ("single", "multi", "regression")

DEPARTURES = (
    EvaluationProtocol(
        name="shuffled-folds",
        title="folds: clips shuffled",
        source="",
        clips="the task's own folds or split, with the clips of each class shuffled, groups "
        "ignored",
        standardization=_STANDARDIZED,
        selection=_OWN_SELECTION,
        fit=_LINEAR,
        divide=protocol_splits.shuffled_splits,
        make_probe=Linear,
        leaks=("groups and official folds are ignored",),
        adapt=protocol_splits.check_shuffle,
        refit=True,
        steps=STANDARD,
        targets=_EVERY_TARGET,
        version=2,
    ),
    EvaluationProtocol(
        name="raw-features",
        title="standardization: none",
        source="",
        clips=_TASK_CLIPS,
        standardization="none",
        selection=_OWN_SELECTION,
        fit=_LINEAR,
        divide=protocol_splits.task_splits,
        make_probe=Linear,
        refit=True,
        targets=_EVERY_TARGET,
    ),
    EvaluationProtocol(
        name="test-selection",
        title="selection: on test clips",
        source="",
        clips=_TASK_CLIPS,
        standardization=_STANDARDIZED,
        selection="C on the test clips",
        fit=_LINEAR,
        divide=protocol_splits.select_on_test,
        make_probe=Linear,
        leaks=("test clips choose C",),
        steps=STANDARD,
        targets=_EVERY_TARGET,
    ),
    EvaluationProtocol(
        name="fixed-c",
        title="selection: none, C = 1",
        source="",
        clips=_TASK_CLIPS,
        standardization=_STANDARDIZED,
        selection="none, C = 1",
        fit=_LINEAR,
        divide=protocol_splits.without_validation,
        make_probe=partial(few_shot, Linear()),
        steps=STANDARD,
        targets=_EVERY_TARGET,
    ),
    EvaluationProtocol(
        name="eight-labels",
        title="labels: 8 a class, C = 1",
        source="",
        clips="the task's own folds or split, with 8 labeled clips of each class",
        standardization=_STANDARDIZED,
        selection="none, C = 1",
        fit=_LINEAR,
        divide=protocol_splits.few_labels,
        make_probe=partial(few_shot, Linear()),
        steps=STANDARD,
    ),
)

PROTOCOLS = {protocol.name: protocol for protocol in (*PEERS, *DEPARTURES)}


def get_evaluation_protocol(name: str) -> EvaluationProtocol:
    """Return the protocol of a name; an error that lists all if there is none."""
    if name not in PROTOCOLS:
        raise unknown_name_error("protocol", name, list(PROTOCOLS))
    return PROTOCOLS[name]


def leak_notes(rules: EvaluationProtocol, splits: Sequence[Split]) -> list[str]:
    """Return what test clips influence, by the rules and by these splits."""
    notes = list(rules.leaks)
    if rules.name == "xares" and any(_tests_validation(split) for split in splits):
        notes.append("test clips choose the epoch")
    if rules.name == "hear" and len(splits) > 1:
        notes.append("the clips that choose the settings of all folds are tested in one of them")
    return notes


def fitted_splits(splits: Sequence[Split]) -> list[Split]:
    """Return splits without validation clips that are their test clips.

    What test clips share with training clips is then counted for those that are fitted.
    """
    return [
        replace(split, valid=split.valid[:0]) if _tests_validation(split) else split
        for split in splits
    ]


def _tests_validation(split: Split) -> bool:
    return len(split.valid) > 0 and np.array_equal(split.valid, split.test)
