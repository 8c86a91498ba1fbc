"""Cards of trained students: finding, reading and describing them as extractors.

A trained student has a folder ``students/ID`` under ``PROBEKIT_REPORTS`` (else ``reports/out``).
In it are ``card.yaml``, its weights (a state dict that :func:`torch.load` reads with
``weights_only=True``), and ``clips.csv``, its training clips
(:mod:`probekit.cache.training_clips`). As an extractor it is named ``student-ID``, or for short
``-e runs/ID``.
"""

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from probekit.cards import card_paths, load_extractor_card
from probekit.cards.code import code_identity
from probekit.cards.schema import ExtractorCard, Seconds, Stream
from probekit.cards.selector import STUDENT_PREFIX, display_name
from probekit.errors import CardError, UnknownNameError, WeightsError
from probekit.extractors.labels import load_labels
from probekit.extractors.weights.source import WeightsSource, file_digests
from probekit.extractors.weights.trained_files import read_facts
from probekit.utils.suggest import did_you_mean

CARD = "card.yaml"
WEIGHTS = "weights.pt"
FRAME_PROBABILITIES = "frame_probabilities"
_WHOLE_CLIP_SECONDS = 600
_MAX_LISTED = 5  # students in an error message


class StudentWeights(BaseModel):
    """The weights file beside the card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = WEIGHTS
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("file")
    @classmethod
    def _check_folder(cls, file: str) -> str:
        if Path(file).name != file:
            raise ValueError("must be a file beside the card, without folders")
        return file


class StudentCard(BaseModel):
    """The facts of one trained student.

    ``student`` is the text that builds it, ``decoder`` its own or the single linear layer of the
    mode ``fix``, or one on each frame (``frames``), pooled over time by ``pooling``. One of
    ``any_length`` reads whole clips. The grid is that of its ``steps`` frames in a crop of
    ``crop`` seconds; ``hidden`` is the length of its last layer's input, 0 if not known; ``layers``
    has the lengths of the layers before the embedding, if they are streams.
    ``result`` is the id of its run;
    ``caveat`` is shown beside every score. ``task``, ``dataset`` and ``fold`` are those of its
    training, ``trained_on`` and ``chosen_on`` the numbers of clips that it was trained and selected
    on; empty and 0 if not recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str = Field(pattern=rf"^{STUDENT_PREFIX}[a-z0-9][a-z0-9.-]*$")
    description: str = ""
    student: str
    decoder: Literal["own", "linear", "frames"] = "own"
    pooling: str = ""
    any_length: bool = False
    classes: tuple[str, ...]
    target: Literal["single", "multi", "regression"]
    sample_rate: int = Field(gt=0)
    crop: Seconds
    dim: int = Field(ge=1)
    steps: int = Field(ge=1)
    hop: Seconds
    first_center: Seconds
    window: Seconds
    hidden: int = Field(default=0, ge=0)
    layers: tuple[int, ...] = ()
    weights: StudentWeights
    result: str = ""
    task: str = ""
    dataset: str = ""
    fold: str = ""
    trained_on: int = Field(default=0, ge=0)
    chosen_on: int = Field(default=0, ge=0)
    caveat: str = ""

    @property
    def samples(self) -> int:
        """Samples of a crop."""
        return int(self.crop * self.sample_rate)

    @property
    def stride(self) -> int:
        """Samples from one crop of a clip to the next.

        Frames of neighboring crops then follow one another at the same hop. If that is not
        possible in whole samples and without gaps, crops do not overlap, and the frames of each are
        averaged.
        """
        span = self.steps * self.hop * self.sample_rate
        return int(span) if span.denominator == 1 and span <= self.samples else self.samples

    @property
    def streams_averaged(self) -> bool:
        """Whether frames are averaged over each crop."""
        return not self.any_length and self.stride != self.steps * self.hop * self.sample_rate

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams of the student as an extractor."""
        stride, crop = Fraction(self.stride, self.sample_rate), self.crop
        per_crop: dict[str, Any] = {
            "kind": "frames",
            "hop": stride,
            "first_center": crop / 2,
            "window": crop,
        }
        per_frame: dict[str, Any] = {
            "kind": "frames",
            "hop": self.hop,
            "first_center": self.first_center,
            "window": self.window,
        }
        if self.any_length:
            per_crop = {"kind": "clip"}
        place = "of the clip" if self.any_length else "of each crop"
        count = len(self.classes)
        per_embedding = per_crop if self.streams_averaged else per_frame
        averaged = ", mean over each crop" * self.streams_averaged
        streams = {
            "embedding": Stream(
                dim=self.dim,
                description=f"what the decoder reads{averaged}",
                layer=len(self.layers) + 1 if self.layers else None,
                **per_embedding,
            )
        }
        for number, dim in enumerate(self.layers, start=1):
            streams[f"layer.{number}"] = Stream(
                dim=dim,
                description=f"output of block {number}, averaged over frequency{averaged}",
                layer=number,
                **per_embedding,
            )
        if self.hidden:
            per_hidden = per_frame if self.pooling and not self.streams_averaged else per_crop
            position = "of each frame" if per_hidden is per_frame else place
            streams["hidden"] = Stream(
                dim=self.hidden, description=f"what the last layer reads, {position}", **per_hidden
            )
        if self.pooling and not self.streams_averaged and self.target != "regression":
            streams[FRAME_PROBABILITIES] = Stream(
                dim=count,
                description=f"probability of each class in each frame, before {self.pooling}",
                **per_frame,
            )
        output = "values" if self.target == "regression" else "logits"
        streams["logits"] = Stream(
            dim=count, description=f"{output} of the classes, {place}", **per_crop
        )
        if self.target != "regression":
            function = "softmax" if self.target == "single" else "sigmoid"
            streams["probabilities"] = Stream(
                dim=count, description=f"{function} of the logits, {place}", **per_crop
            )
        return streams


def students_folder() -> Path:
    """Return the default folder of trained students."""
    return Path(os.environ.get("PROBEKIT_REPORTS") or "reports/out") / "students"


def list_students(reports: str | Path | None = None) -> dict[str, Path]:
    """Return the folders of all trained students by name, sorted.

    Students in another reports folder, if given, take precedence over the default ones.
    """
    students = {
        STUDENT_PREFIX + path.parent.name: path.parent
        for folder in reversed(_search_folders(reports))
        for path in folder.glob(f"*/{CARD}")
    }
    return dict(sorted(students.items()))


def find_official_weights(name: str, reports: str | Path | None = None) -> Path | None:
    """Return weights that an extractor takes, of the best network of its name that was trained.

    The best one has the highest score on validation clips; of equal ones, the newest.

    Parameters
    ----------
    name : str
        Name of the extractor: ``talnet``. Students and other networks without a card take none.
    reports : str or pathlib.Path, optional
        As for :func:`list_students`.
    """
    if name not in card_paths("extractors"):
        return None
    expected = load_extractor_card(name)
    classes = load_labels(expected.classes_file) if expected.classes_file else ()
    best: tuple[float, float, Path] | None = None
    for folder in list_students(reports).values():
        for main in {facts.file for facts in expected.weights.values() if facts.file}:
            facts = read_facts(folder / main)
            if facts is None or facts["network"] != name:
                continue
            if classes and tuple(facts["classes"]) != tuple(classes):
                continue
            key = (facts["valid_score"] or 0.0, (folder / main).stat().st_mtime, folder / main)
            best = key if best is None else max(best, key)
    return None if best is None else best[2]


def _search_folders(reports: str | Path | None) -> list[Path]:
    """Return the folders to search for students, by precedence."""
    folders = [students_folder()]
    if reports is not None and Path(reports) / "students" not in folders:
        folders.insert(0, Path(reports) / "students")
    return folders


def read_student_card(folder: Path) -> StudentCard:
    """Read the card in the folder of a trained student.

    Raises ``CardError`` if it is not YAML, not a card, or that of another folder.
    """
    file = folder / CARD
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        facts = StudentCard.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'card'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise CardError(f"{file}: not the card of a trained student: {faults}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardError(f"{file}: not a YAML file: {error}") from error
    except OSError as error:
        raise CardError(f"{file}: cannot be read: {error.strerror}") from error
    if facts.name != STUDENT_PREFIX + folder.name:
        raise CardError(f"{file}: name must be {STUDENT_PREFIX}{folder.name}, got {facts.name!r}")
    return facts


def describe_student(
    name: str,
    overrides: Mapping[str, str] | None = None,
    reports: str | Path | None = None,
) -> tuple[ExtractorCard, dict[str, WeightsSource], dict[str, Any]]:
    """Describe a trained student as an extractor.

    Parameters
    ----------
    name : str
        ``student-ID``.
    overrides : mapping of str to str, optional
        Weights named by the user; none may be for this student.
    reports : str or pathlib.Path, optional
        As for :func:`list_students`.

    Returns
    -------
    card : ExtractorCard
        Made from its own card.
    sources : dict of str to WeightsSource
        Its weights.
    code : dict
        What else decides the values: the student's text, its decoder, crop, target and classes,
        and the hash of the source of a user's own class.

    Raises
    ------
    ProbekitError
        If there is no such student, or its weights are missing or were changed.
    """
    known = list_students(reports)
    if name not in known:
        raise UnknownNameError(_unknown_student(name, known, _search_folders(reports)))
    if any(key.startswith(f"{name}.") for key in overrides or {}):
        raise WeightsError(f"--weights {name}=…: a trained student has its own weights")
    facts = read_student_card(known[name])
    path = known[name] / facts.weights.file
    if not path.is_file():
        raise WeightsError(f"{path}: weights of {name} not found; train it again")
    sha256 = file_digests(path).sha256
    if sha256 != facts.weights.sha256:
        raise WeightsError(
            f"{path}: not the weights of {name}: SHA-256 must be {facts.weights.sha256[:8]}… as in "
            f"its card, got {sha256[:8]}…. Train it again"
        )
    card = ExtractorCard(
        name=name,
        title=facts.description or f"{facts.student}, trained here",
        version=1,
        module="student",
        sample_rate=facts.sample_rate,
        padding="zeros at the end of a clip that is too short for one frame"
        if facts.any_length
        else (
            f"crops of {facts.samples} samples every {facts.stride}; zeros at the end so that the "
            "last crop is whole"
        ),
        long_audio="exact" if facts.any_length else "windowed",
        max_seconds=_WHOLE_CLIP_SECONDS if facts.any_length else None,
        default_stream="embedding",
        streams=facts.streams,
        caveat=facts.caveat,
    )
    code = facts.model_dump(
        mode="json", include={"student", "decoder", "classes", "target", "hidden", "steps"}
    )
    if facts.pooling:
        code |= {"pooling": facts.pooling, "any_length": facts.any_length}
    name_or_module, _, rest = facts.student.partition(":")
    attribute = rest.partition(":")[0]
    if attribute and "=" not in attribute:  # a class of the user: module:Class
        module = f"{name_or_module}:{attribute}"
        identity = code_identity(card.model_copy(update={"module": module}))
        code["source"] = identity.get("source", "")
    times = {key: str(getattr(facts, key)) for key in ("crop", "hop", "first_center", "window")}
    return (
        card,
        {"main": WeightsSource(path=path, sha256=sha256)},
        {**code, **times, "dim": facts.dim},
    )


def _unknown_student(name: str, known: Mapping[str, Path], folders: Sequence[Path]) -> str:
    """Return the message about an unknown student, with the closest and the newest ones."""
    short = display_name(name)
    newest = sorted(known, key=lambda student: -(known[student] / CARD).stat().st_mtime_ns)
    listed = ", ".join(map(display_name, newest[:_MAX_LISTED])) or "none"
    heading = f"The newest of {len(known):,}" if len(known) > _MAX_LISTED else "Known"
    return (
        f"unknown trained student {short!r}.{did_you_mean(short, map(display_name, known))} "
        f"{heading}: {listed}. Searched in {' and '.join(map(str, folders))} "
        "(--reports, PROBEKIT_REPORTS)."
    )
