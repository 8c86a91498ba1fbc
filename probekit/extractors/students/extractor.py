"""Trained students as extractors, and saving them.

A student of the user's own class (``module:Class``) is built by importing that module, as in
training; no other code is run.
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
from probekit.extractors.base import (
    Extractor,
    Head,
    Outputs,
    WholeClipExtractor,
    WindowedExtractor,
)
from probekit.extractors.students import zoo
from probekit.extractors.students.base import PooledLinear, Student
from probekit.extractors.students.card import (
    CARD,
    FRAME_PROBABILITIES,
    WEIGHTS,
    StudentCard,
    StudentWeights,
)
from probekit.extractors.students.time_pooling import HEAD_POOLINGS, FrameClassifier
from probekit.utils.atomic import atomic_write, atomic_write_text
from probekit.utils.hashing import sha256

_NEWER = ("pooling", "any_length", "layers")  # keys of cards, which older ones do not have


class _StudentOutputs(Extractor):
    """What trained students have in common, however they cut a clip.

    Parameters
    ----------
    card : ExtractorCard
        From :func:`probekit.extractors.students.card.describe_student`.
    params : dict
        Empty.
    streams : sequence of str
        Names of the streams to compute.
    code : mapping of str to object
        From :func:`~probekit.extractors.students.card.describe_student`.
    """

    network: Student
    batch_seconds = 20.0

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], code: Mapping[str, Any]
    ) -> None:
        super().__init__(card, params, streams)
        facts = StudentCard.model_validate(
            {
                **{key: value for key, value in code.items() if key in StudentCard.model_fields},
                "name": card.name,
                "sample_rate": card.sample_rate,
                "weights": {"sha256": "0" * 64},
            }
        )
        self.facts = facts
        self.network = student_from_card(facts)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Run the student's front-end."""
        return self.network.frontend(pieces)

    def embed(self, features: Tensor) -> Outputs:
        """Run encoder and decoder."""
        with_layers = any(name.startswith("layer.") for name in self.stream_names)
        network = self.network
        layers = network.embed_layers(features) if with_layers else [network.embed(features)]
        frames, averaged = layers[-1], self.facts.streams_averaged
        outputs = {"embedding": frames.mean(1) if averaged else frames}
        for number, layer in enumerate(layers[:-1], start=1):
            outputs[f"layer.{number}"] = layer.mean(1) if averaged else layer
        if FRAME_PROBABILITIES in self.stream_names:
            logits = self.network.frame_logits(frames)
            assert logits is not None  # otherwise there is no such stream
            outputs[FRAME_PROBABILITIES] = logits.float().sigmoid()
        if "hidden" in self.stream_names:
            outputs["hidden"] = self._hidden(frames)
        if {"logits", "probabilities"} & set(self.stream_names):
            logits = self.network.decode(frames)
            outputs["logits"] = logits
            outputs["probabilities"] = (
                logits.float().softmax(-1)
                if self.facts.target == "single"
                else logits.float().sigmoid()
            )
        return {name: outputs[name] for name in self.stream_names}

    def _hidden(self, frames: Tensor) -> Tensor:
        """Return what the last layer reads."""
        layer = self.network.frame_classifier()
        if layer is not None and layer.inputs is not None:
            return layer.inputs(frames)
        classifier = self.network.classifier()
        assert classifier is not None  # otherwise there is no such stream
        return classifier[0](frames)

    def source_classes(self) -> tuple[str, ...]:
        """Return the task's classes."""
        return self.facts.classes

    def head(self) -> Head | None:
        """Return the last layer; None for a regression, or if the layers are not known.

        Crops of a clip are averaged after a sigmoid, as for all heads, even if the student was
        trained with a softmax.
        """
        layer = self.network.frame_classifier()
        if layer is not None and not self.facts.streams_averaged:
            stream = "hidden" if layer.inputs else "embedding"
            pooling = HEAD_POOLINGS[self.facts.pooling]
            weight, bias = layer.weight.detach(), layer.bias.detach()
            weights = layer.attention and (layer.attention[0].detach(), layer.attention[1].detach())
            return Head(self.facts.classes, weight, bias, stream, pooling, weights)
        classifier = self.network.classifier()
        if classifier is None or self.facts.target == "regression":
            return None
        last = classifier[1]
        return Head(self.facts.classes, last.weight.detach(), last.bias.detach(), "hidden", "mean")


class TrainedStudent(_StudentOutputs, WindowedExtractor):
    """A trained student on consecutive crops of a clip."""

    keep_tail = True

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], code: Mapping[str, Any]
    ) -> None:
        super().__init__(card, params, streams, code)
        self.window, self.hop = self.facts.samples, self.facts.stride


class TrainedEventNetwork(_StudentOutputs, WholeClipExtractor):
    """A trained student on whole clips of any length."""

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], code: Mapping[str, Any]
    ) -> None:
        super().__init__(card, params, streams, code)
        self.min_samples = self.network.min_samples


def student_from_card(facts: StudentCard) -> Student:
    """Build the student of a card with new weights, and the state-dict keys of its weights file.

    Raises ``ProbekitError`` if its class has changed since it was trained.
    """
    student = zoo.build_student(facts.student, len(facts.classes))
    _, steps = student.frames(facts.samples)
    if (student.rate, student.dim, steps) != (facts.sample_rate, facts.dim, facts.steps):
        raise ProbekitError(
            f"{facts.name}: the class of student {facts.student} has changed since it was trained: "
            f"it must make {facts.steps} frames of {facts.dim} numbers at {facts.sample_rate} Hz, "
            f"got {steps} of {student.dim} at {student.rate} Hz"
        )
    if facts.decoder == "linear":
        student.replace_classifier(PooledLinear(student.dim, student.classes))
    elif facts.decoder == "frames":
        student.classify_frames(facts.pooling)
    return student


def save_student(
    folder: Path,
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
    """Save a trained student as ``-e runs/ID``.

    Parameters
    ----------
    folder : pathlib.Path
        Its folder, ``students/ID`` in the reports folder
        (:func:`probekit.extractors.students.card.students_folder`); the id has lower-case letters,
        digits, dots and hyphens.
    student : Student
        Trained, with its own decoder or a :class:`PooledLinear`.
    classes : sequence of str
        The task's labels, in their order.
    target : {"single", "multi", "regression"}
        Kind of the task.
    crop : fractions.Fraction
        Length of its crops in seconds; in whole samples, rounded down.
    description : str
        One line for tables.
    result : str
        Id of its result.
    caveat : str
        Notes to be shown beside every score from it: stand-in data, random weights.
    origin : mapping of str to object, optional
        ``task``, ``dataset``, ``fold``, ``trained_on``, ``chosen_on`` of
        :class:`~probekit.extractors.students.card.StudentCard`.

    Returns
    -------
    pathlib.Path
        The folder; its card is written last.

    Raises
    ------
    ProbekitError
        If its decoder also reads a teacher's features.
    """
    if student.head is not None and not isinstance(student.head, PooledLinear | FrameClassifier):
        raise ProbekitError(
            f"student {student.spec}: its decoder also reads a teacher's features, so that it "
            "cannot be an extractor"
        )
    samples = int(crop * student.rate)
    grid, steps = student.frames(samples)
    layer, classifier = student.frame_classifier(), student.classifier()
    hidden = 0 if classifier is None else classifier[1].in_features
    if layer is not None:
        hidden = layer.weight.shape[1] if layer.inputs else 0
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in student.state_dict().items()}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # torch.save would store the name of a path in the file
            torch.save(state, file)

    atomic_write(folder / WEIGHTS, write)
    facts = StudentCard(
        name=STUDENT_PREFIX + folder.name,
        description=description,
        student=student.spec,
        decoder=_decoder_name(student),
        pooling=student.pooling,
        any_length=student.any_length,
        classes=tuple(classes),
        target=target,
        sample_rate=student.rate,
        crop=Fraction(samples, student.rate),
        dim=student.dim,
        steps=steps,
        hop=grid.hop,
        first_center=grid.first_center,
        window=grid.window,
        hidden=hidden,
        layers=student.layer_dims,
        weights=StudentWeights(sha256=sha256(folder / WEIGHTS)),
        result=result,
        caveat=caveat,
        **(origin or {}),
    )
    values = {
        key: str(value) if isinstance(value, Fraction) else value
        for key, value in facts.model_dump().items()
        if value or key not in _NEWER  # as in cards from before there were any
    }
    values |= {key: list(values[key]) for key in ("classes", "layers") if key in values}
    atomic_write_text(folder / CARD, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return folder


def _decoder_name(student: Student) -> Literal["own", "linear", "frames"]:
    if student.head is None:
        return "own"
    return "frames" if isinstance(student.head, FrameClassifier) else "linear"


def build(
    card: ExtractorCard, params: Params, streams: Sequence[str], code: Mapping[str, Any]
) -> TrainedStudent | TrainedEventNetwork:
    """Return a trained student as an extractor, of consecutive crops or of whole clips."""
    kind = TrainedEventNetwork if code.get("any_length") else TrainedStudent
    return kind(card, params, streams, code)
