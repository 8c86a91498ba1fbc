"""Students that were trained here: where they lie, and what their cards say.

Each lies in ``students/ID`` under ``PROBEKIT_REPORTS`` (else ``reports/out``): ``card.yaml`` with
the facts below, its weights, a state dict that :func:`torch.load` reads with ``weights_only=True``,
and ``clips.csv``, the clips that it has learnt from (:mod:`probekit.cache.training_clips`). As an extractor
it is called ``student-ID``, and ``-e runs/ID`` is short for that.
"""

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from probekit.cards.schema import ExtractorCard, Seconds, Stream
from probekit.cards.selector import STUDENT_PREFIX, display_name
from probekit.errors import CardError, UnknownNameError, WeightsError
from probekit.extractors.weights.source import WeightsSource, file_digests
from probekit.utils.suggest import did_you_mean

CARD = "card.yaml"
WEIGHTS = "weights.pt"
_NAMED = 5  # students that an error names


class StudentWeights(BaseModel):
    """A file of weights beside the card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = WEIGHTS
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("file")
    @classmethod
    def _beside(cls, file: str) -> str:
        if Path(file).name != file:
            raise ValueError("a file beside the card is needed, without folders")
        return file


class StudentCard(BaseModel):
    """The facts of one trained student.

    ``student`` is the text that builds it, ``decoder`` its own or the single linear layer of the
    mode ``fix``. The grid is that of its frames in a crop of ``crop`` seconds, ``steps`` of them;
    ``hidden`` is the length of what its last layer reads, 0 where that is not known. ``result`` is
    the run that it belongs to; ``caveat`` is shown beside every score. ``task``, ``dataset`` and
    ``fold`` say what it was trained for, ``trained_on`` and ``chosen_on`` how many clips it was
    trained on and how many chose its epoch; empty and 0 where that was not noted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str = Field(pattern=rf"^{STUDENT_PREFIX}[a-z0-9][a-z0-9.-]*$")
    description: str = ""
    student: str
    decoder: Literal["own", "linear"] = "own"
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
        """Samples from one crop to the next, when crops go through a clip.

        So many that frames of neighbouring crops follow one another at the same hop; where that
        is not possible in whole samples and without gaps, crops lie side by side, and their frames
        are averaged.
        """
        span = self.steps * self.hop * self.sample_rate
        return int(span) if span.denominator == 1 and span <= self.samples else self.samples

    @property
    def streams_averaged(self) -> bool:
        """Whether frames are averaged over each crop."""
        return self.stride != self.steps * self.hop * self.sample_rate

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams of the student as an extractor."""
        stride, crop = Fraction(self.stride, self.sample_rate), self.crop
        per_crop: dict[str, Any] = {
            "kind": "frames", "hop": stride, "first_center": crop / 2, "window": crop,
        }  # fmt: skip
        own: dict[str, Any] = {
            "kind": "frames", "hop": self.hop, "first_center": self.first_center,
            "window": self.window,
        }  # fmt: skip
        count = len(self.classes)
        found = {
            "embedding": Stream(
                dim=self.dim,
                description="what the decoder reads"
                + ", mean over each crop" * self.streams_averaged,
                **(per_crop if self.streams_averaged else own),
            )
        }
        if self.hidden:
            found["hidden"] = Stream(
                dim=self.hidden, description="what the last layer reads, of each crop", **per_crop
            )
        said = "values" if self.target == "regression" else "logits"
        found["logits"] = Stream(
            dim=count, description=f"{said} of the classes, of each crop", **per_crop
        )
        if self.target != "regression":
            made = "softmax" if self.target == "single" else "sigmoid"
            found["probabilities"] = Stream(
                dim=count, description=f"{made} of the logits, of each crop", **per_crop
            )
        return found


def students_dir() -> Path:
    """Return where trained students lie where nothing else is said."""
    return Path(os.environ.get("PROBEKIT_REPORTS") or "reports/out") / "students"


def list_students(reports: str | Path | None = None) -> dict[str, Path]:
    """Return the names of all trained students, with their folders.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        A folder of reports to look in, too; of equal names its own are taken.

    Returns
    -------
    dict of str to pathlib.Path
        Sorted by name.
    """
    found = {
        STUDENT_PREFIX + path.parent.name: path.parent
        for where in reversed(_folders(reports))
        for path in where.glob(f"*/{CARD}")
    }
    return dict(sorted(found.items()))


def _folders(reports: str | Path | None) -> list[Path]:
    """Return where to look for students, the first place first."""
    own = [Path(reports) / "students"] if reports is not None else []
    return [*own, *(one for one in [students_dir()] if one not in own)]


def read_student_card(path: Path) -> StudentCard:
    """Read the card of a trained student.

    Parameters
    ----------
    path : pathlib.Path
        Its folder.

    Returns
    -------
    Trained
        The checked facts.

    Raises
    ------
    CardError
        If the card is not YAML, not a card, or that of another folder.
    """
    file = path / CARD
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
    if facts.name != STUDENT_PREFIX + path.name:
        raise CardError(f"{file}: named {facts.name!r} inside; it must be {STUDENT_PREFIX}{path.name}")
    return facts


def describe_student(
    name: str,
    overrides: Mapping[str, str] | None = None,
    reports: str | Path | None = None,
) -> tuple[ExtractorCard, dict[str, WeightsSource], dict[str, Any]]:
    """Settle a trained student as an extractor.

    Parameters
    ----------
    name : str
        ``student-ID``.
    overrides : mapping of str to str, optional
        Weights that a user named; there must be none for it.
    reports : str or pathlib.Path, optional
        As for :func:`names`.

    Returns
    -------
    card : ExtractorCard
        Made from its own card.
    sources : dict of str to Source
        Its weights.
    code : dict
        What else decides the values: the student's text, its decoder, crop, target and classes.

    Raises
    ------
    ProbekitError
        If there is no such student, or its weights are gone or were changed.
    """
    known = list_students(reports)
    if name not in known:
        raise UnknownNameError(_unknown(name, known, _folders(reports)))
    if any(key.startswith(f"{name}.") for key in overrides or {}):
        raise WeightsError(f"--weights {name}=…: a trained student has its own weights")
    facts = read_student_card(known[name])
    path = known[name] / facts.weights.file
    if not path.is_file():
        raise WeightsError(f"{path}: the weights of {name} are gone; train it again")
    sha256 = file_digests(path).sha256
    if sha256 != facts.weights.sha256:
        raise WeightsError(
            f"{path}: not the weights of {name}: SHA-256 {sha256[:8]}…, not "
            f"{facts.weights.sha256[:8]}… as its card says. Train it again"
        )
    streams = facts.streams
    card = ExtractorCard(
        name=name,
        title=facts.description or f"{facts.student}, trained here",
        version=1,
        module="student",
        sample_rate=facts.sample_rate,
        padding=(
            f"crops of {facts.samples} samples every {facts.stride}; zeros at the end so that the "
            "last crop is whole"
        ),
        long_audio="windowed",
        default_stream="embedding",
        streams=streams,
        caveat=facts.caveat,
    )
    code = facts.model_dump(
        mode="json", include={"student", "decoder", "classes", "target", "hidden", "steps"}
    )
    times = {key: str(getattr(facts, key)) for key in ("crop", "hop", "first_center", "window")}
    return card, {"main": WeightsSource(path=path, sha256=sha256)}, {**code, **times, "dim": facts.dim}


def _unknown(name: str, known: Mapping[str, Path], folders: Sequence[Path]) -> str:
    """Say that there is no such student, and name the nearest and the newest ones."""
    newest = sorted(known, key=lambda one: -(known[one] / CARD).stat().st_mtime_ns)[:_NAMED]
    there = ", ".join(map(display_name, newest)) or "none"
    which = f"The newest of {len(known):,}" if len(known) > _NAMED else "There is"
    return (
        f"unknown trained student {display_name(name)!r}."
        f"{did_you_mean(display_name(name), map(display_name, known))} {which}: {there}. They are looked for in "
        f"{' and '.join(map(str, folders))} (--reports, PROBEKIT_REPORTS)."
    )
