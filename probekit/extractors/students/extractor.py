"""A trained student as an extractor, and how one is kept.

Whoever names a trained student of a class of their own (``module:Class``) imports that module, as
training it did; nothing else that is read runs.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from probekit.cards import ExtractorCard, Params
from probekit.cards.selector import STUDENT_PREFIX
from probekit.errors import ProbekitError
from probekit.extractors.base import Head, Outputs, WindowedExtractor
from probekit.extractors.students import card as card_module
from probekit.extractors.students import zoo
from probekit.extractors.students.card import StudentCard, StudentWeights
from probekit.extractors.students.zoo import PooledLinear, Student
from probekit.utils.atomic import atomic_write, atomic_write_text
from probekit.utils.hashing import sha256


class TrainedStudent(WindowedExtractor):
    """A student on crops that follow one another.

    Parameters
    ----------
    card : ExtractorCard
        From :func:`probekit.extractors.students.card.describe`.
    params : dict
        Empty.
    streams : sequence of str
        The streams to compute.
    code : mapping of str to object
        From :func:`~probekit.extractors.students.card.describe`.
    """

    network: Student
    keep_tail = True
    batch_seconds = 20.0

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], code: Mapping[str, Any]
    ) -> None:
        super().__init__(card, params, streams)
        facts = StudentCard.model_validate(
            {**code, "name": card.name, "sample_rate": card.sample_rate,
             "weights": {"sha256": "0" * 64}}
        )  # fmt: skip
        self.facts = facts
        self.network = student_from_card(facts)
        self.window, self.hop = facts.samples, facts.stride

    def frontend(self, pieces: Tensor) -> Tensor:
        """Run the student's front-end."""
        return self.network.frontend(pieces)

    def embed(self, features: Tensor) -> Outputs:
        """Run encoder and decoder."""
        frames = self.network.embed(features)
        found = {"embedding": frames.mean(1) if self.facts.streams_averaged else frames}
        output = self.network.classifier()
        if "hidden" in self.stream_names:
            assert output is not None  # hidden is 0 otherwise, and there is no such stream
            found["hidden"] = output[0](frames)
        if {"logits", "probabilities"} & set(self.stream_names):
            logits = self.network.decode(frames)
            wide = logits.float()
            found["logits"] = logits
            found["probabilities"] = (
                wide.softmax(-1) if self.facts.target == "single" else wide.sigmoid()
            )
        return {name: found[name] for name in self.stream_names}

    def source_classes(self) -> tuple[str, ...]:
        """Return the task's classes."""
        return self.facts.classes

    def head(self) -> Head | None:
        """Return the last layer; None of a regression, or of a network whose layers are not known.

        Crops of a clip are averaged after a sigmoid, as for all heads, also where the student was
        trained with a softmax.
        """
        output = self.network.classifier()
        if output is None or self.facts.target == "regression":
            return None
        last = output[1]
        return Head(self.facts.classes, last.weight.detach(), last.bias.detach(), "hidden", "mean")


def student_from_card(facts: StudentCard) -> Student:
    """Return the student of a card, with fresh weights.

    Parameters
    ----------
    facts : Trained
        From its card.

    Returns
    -------
    Student
        Its state dict has the keys of the weights file.

    Raises
    ------
    ProbekitError
        If the student is not what the card says; then its class has changed.
    """
    student = zoo.build_student(facts.student, len(facts.classes))
    _, steps = student.frames(facts.samples)
    if (student.rate, student.dim, steps) != (facts.sample_rate, facts.dim, facts.steps):
        raise ProbekitError(
            f"{facts.name}: student {facts.student} makes {steps} frames of {student.dim} numbers "
            f"at {student.rate} Hz now; when it was trained, {facts.steps} of {facts.dim} at "
            f"{facts.sample_rate} Hz: its class has changed"
        )
    if facts.decoder == "linear":
        student.replace_classifier(PooledLinear(student.dim, student.classes))
    return student


def save_student(
    where: Path,
    student: Student,
    *,
    classes: Sequence[str],
    target: Literal["single", "multi", "regression"],
    crop: Fraction,
    description: str = "",
    result: str = "",
    caveat: str = "",
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trained student, so that ``-e runs/ID`` finds it.

    Parameters
    ----------
    where : pathlib.Path
        Its folder, ``students/ID`` among the reports (:func:`probekit.extractors.students.card.folder`);
        the id has lower-case letters, digits, dots and hyphens.
    student : Student
        Trained; with its own decoder, or as :func:`probekit.distillation.methods.freeze_encoder` leaves it.
    classes : sequence of str
        The task's labels, in their order.
    target : {"single", "multi", "regression"}
        Of the task.
    crop : fractions.Fraction
        Seconds that it heard at once; in whole samples, rounded down.
    description : str
        One line for tables.
    result : str
        The id of the result that it belongs to.
    caveat : str
        What must be shown beside every score from it: stand-in data, random weights.
    origin : mapping of str to object, optional
        What it was trained for: ``task``, ``dataset``, ``fold``, ``trained_on``, ``chosen_on``; see
        :class:`~probekit.extractors.students.card.StudentCard`.

    Returns
    -------
    pathlib.Path
        The folder; the card is written last, so that what has one is whole.

    Raises
    ------
    ProbekitError
        If its decoder reads more than its embedding: it cannot do without the teacher.
    """
    if student.head is not None and not isinstance(student.head, PooledLinear):
        raise ProbekitError(
            f"student {student.spec}: its decoder also reads a teacher's features; without the "
            "teacher it is no extractor"
        )
    samples = int(crop * student.rate)
    grid, steps = student.frames(samples)
    output = student.classifier()
    where.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in student.state_dict().items()}
    weights = where / card_module.WEIGHTS

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # torch.save would store the name of a path in the file
            torch.save(state, file)

    atomic_write(weights, write)
    facts = StudentCard(
        name=STUDENT_PREFIX + where.name,
        description=description,
        student=student.spec,
        decoder="own" if student.head is None else "linear",
        classes=tuple(classes),
        target=target,
        sample_rate=student.rate,
        crop=Fraction(samples, student.rate),
        dim=student.dim,
        steps=steps,
        hop=grid.hop,
        first_center=grid.first_center,
        window=grid.window,
        hidden=0 if output is None else output[1].in_features,
        weights=StudentWeights(sha256=sha256(weights)),
        result=result,
        caveat=caveat,
        **(origin or {}),
    )
    plain = {
        key: str(value) if isinstance(value, Fraction) else value
        for key, value in facts.model_dump().items()
    }
    plain["classes"] = list(facts.classes)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    atomic_write_text(where / card_module.CARD, text)
    return where


build = TrainedStudent
