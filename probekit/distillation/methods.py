"""Distillation methods by name: what each trains, and what it needs a teacher for."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from probekit.cards.selector import display_name
from probekit.distillation import fusion, regularizers
from probekit.distillation.teachers import ALIGNMENTS, Teachers, class_names
from probekit.errors import ProbekitError
from probekit.extractors.students.base import PooledLinear, Student
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import summarize_ids

TRANSFER = ("init", "fix")
WITHOUT_TEACHER = ("none", *TRANSFER)
BASELINES = tuple(name for name in fusion.NAMES if name != "none")
NAMES = (*WITHOUT_TEACHER, *regularizers.NAMES, *BASELINES)
PREDICTION_STREAMS = ("logits", "probabilities")  # names of streams of a network's predictions


@dataclass(frozen=True)
class Method:
    """A distillation method.

    Attributes
    ----------
    name : str
        Name, as after ``--method``.
    alpha : float
        Weight of the regularizer; 0 if there is none.
    """

    name: str
    alpha: float = 0.0

    @property
    def needs_teacher(self) -> bool:
        """Whether teachers are needed at all."""
        return self.name not in WITHOUT_TEACHER

    @property
    def needs_teacher_at_inference(self) -> bool:
        """Whether predictions need teachers, too; such a student is not an extractor."""
        return self.name in BASELINES

    @property
    def reads_frames(self) -> bool:
        """Whether the teachers' frames are read, not only their mean over time."""
        return self.needs_teacher and self.name not in ("cf-reg", "soft-targets")

    @property
    def regularizes(self) -> bool:
        """Whether the method is a regularizer: teachers are needed in training only."""
        return self.name in regularizers.NAMES

    @property
    def needs_init(self) -> bool:
        """Whether the student starts with another network's weights."""
        return self.name in TRANSFER


def make_method(
    name: str, alpha: float | None, n_teachers: int, init: str, alignment: str = ALIGNMENTS[0]
) -> Method:
    """Return a method after checking the options that go with it.

    Parameters
    ----------
    name : str
        ``none``; a regularizer; a baseline that reads the teacher's features at inference, too;
        ``init`` or ``fix``, which start with another network's weights.
    alpha : float, optional
        Weight of the regularizer; by default the paper's.
    n_teachers : int >= 0
        Number of teachers.
    init : str
        Extractor of the initial weights; may be empty.
    alignment : {"time", "paper"}
        How the teachers' frames are aligned with the student's.

    Raises
    ------
    ProbekitError
        If there is no such method, or an option is missing, not used by the method, or out of
        range.
    """
    if name not in NAMES:
        raise unknown_name_error("method", name, NAMES)
    if alignment not in ALIGNMENTS:
        raise unknown_name_error("alignment", alignment, ALIGNMENTS)
    method = Method(name)
    teacher = method.needs_teacher
    # option, its meaning, whether it is set, needed, used
    options = (
        ("--teacher", "an embedding in the cache", n_teachers > 0, teacher, teacher),
        ("--init", "the extractor of the first weights", bool(init), method.needs_init,
         method.needs_init),
        ("--alignment", "for the teachers' frames", alignment != ALIGNMENTS[0], False, teacher),
        ("--alpha", "the weight of a regularizer", alpha is not None, False, method.regularizes),
    )  # fmt: skip
    for option, meaning, is_set, is_needed, is_used in options:
        if is_needed and not is_set:
            raise ProbekitError(f"--method {name} needs {option}, {meaning}")
        if is_set and not is_used:
            raise ProbekitError(f"--method {name} does not use {option}, {meaning}; leave it out")
    if not method.regularizes:
        return method
    if alpha is None:
        return Method(name, regularizers.default_alpha(name))
    if not 0 < alpha < float("inf"):
        raise ProbekitError(f"--alpha must be > 0, got {alpha:g}")
    return Method(name, alpha)


def freeze_encoder(student: Student) -> None:
    """Freeze the encoder, in evaluation mode, and train one linear layer on the mean of its frames.

    This is ``fix``; the encoder's weights come from
    :func:`probekit.training.initial_weights.init_from_extractor`.
    """
    student.replace_classifier(PooledLinear(student.dim, student.classes))
    student.freeze()


def build_model(method: Method, student: Student, features: int) -> nn.Module:
    """Return the model to train: ``forward(waves, teacher) -> (logits, embedding)``.

    Parameters
    ----------
    method : Method
        Decides the decoder's input, and whether the encoder is frozen.
    student : Student
        With its initial weights.
    features : int
        Dimension of the teachers' features; 0 without teachers.
    """
    if method.name == "fix":
        freeze_encoder(student)
    name = method.name if method.needs_teacher_at_inference else "none"
    return fusion.build_fusion(name, student, features)


class Penalty(nn.Module):
    """Passes a regularizer what it reads: the embedding or the logits."""

    def __init__(self, regularizer: regularizers.Regularizer) -> None:
        super().__init__()
        self.regularizer = regularizer

    def forward(self, logits: Tensor, embedding: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return the regularizer's loss.

        Parameters
        ----------
        logits : Tensor, shape (batch, classes)
            Student's logits.
        embedding : Tensor, shape (batch, time, dim)
            Student's embedding.
        teacher : Tensor, shape (batch, time, features)
            Teachers' features at the student's frames.
        valid : Tensor, shape (batch, time), bool
            Where the teachers have features.
        """
        student = logits if self.regularizer.reads == "logits" else embedding
        loss: Tensor = self.regularizer(student, teacher, valid)
        return loss


def build_penalty(
    method: Method,
    teachers: Teachers | None,
    student: Student,
    target: str,
    classes: Sequence[str] = (),
) -> Penalty | None:
    """Return the further term of the loss, with new weights; None without a regularizer.

    Parameters
    ----------
    method : Method
        Names the regularizer.
    teachers : Teachers or None
        Teachers whose features it reads.
    student : Student
        Has the number of classes and the length of the embedding.
    target : {"single", "multi", "regression"}
        Kind of the task's targets.
    classes : sequence of str
        Target labels in order.

    Raises
    ------
    ProbekitError
        If the teachers' features do not suit the method.
    """
    if not method.regularizes or teachers is None:
        return None
    is_soft = method.name == "soft-targets"
    if is_soft and target == "regression":
        raise ProbekitError("soft-targets needs a task with classes; this one is a regression")
    has_probabilities = {source["stream"] for source in teachers.sources} == {"probabilities"}
    regularizer = regularizers.build_regularizer(
        method.name,
        teachers.dim,
        student.dim,
        classes=student.classes,
        target="single" if target == "single" else "multi",
        form="probabilities" if has_probabilities else "logits",
        columns=_class_columns(teachers, classes) if is_soft else None,
    )
    return Penalty(regularizer)


def _class_columns(teachers: Teachers, classes: Sequence[str]) -> list[int] | None:
    """Return the teacher's column of each class; None if its class names are not known."""
    [member, *others] = teachers.members
    teacher_classes = class_names(member.embeddings)
    if others or teacher_classes is None:
        return None
    name, stream = display_name(member.selector.name), member.stream.name
    if stream not in PREDICTION_STREAMS:
        raise ProbekitError(
            f"soft-targets: stream {stream!r} of {name} is not a prediction of its classes. Choose "
            f"its stream {' or '.join(PREDICTION_STREAMS)}, if it has one"
        )
    differences = (
        ("teacher", sorted(set(teacher_classes) - set(classes))),
        ("task", sorted(set(classes) - set(teacher_classes))),
    )
    words = [f"{summarize_ids(names)} only in the {side}" for side, names in differences if names]
    if words:
        raise ProbekitError(
            f"soft-targets: the classes of {name} differ from the task's: {'; '.join(words)}. "
            "Choose a teacher with the same classes"
        )
    return [teacher_classes.index(label) for label in classes]
