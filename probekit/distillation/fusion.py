"""Models whose decoder may read the teacher's features (hung2022, section III.A).

All are called as ``model(waves, teacher)`` and return logits, shape (clips, classes), and the
student's embedding, shape (clips, time, dim). ``waves`` are crops at the student's sample rate,
shape (clips, samples); ``teacher`` are the teacher's features at the student's frames, shape
(clips, time, features), 0 where there are none.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from probekit.extractors.students.base import Student
from probekit.training.objectives import StudentModel
from probekit.utils.suggest import unknown_name_error


class SupervisedOnly(StudentModel):
    """The student alone: for training without a teacher, with a regularizer or by transfer.

    Parameters
    ----------
    student : Student
        Becomes part of the model.
    features : int
        Not used.

    Attributes
    ----------
    needs_teacher : bool
        Whether a prediction needs the teacher's features.
    """

    needs_teacher: ClassVar[bool] = False

    def __init__(self, student: Student, features: int = 0) -> None:
        super().__init__(student)


class FeatureOnly(nn.Module):
    """The student's decoder on the teacher's features; it does not read the audio.

    Parameters
    ----------
    student : Student
        Gives the decoder's shape; it does not become part of the model.
    features : int >= 1
        Dimension of the teacher's features.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, student: Student, features: int) -> None:
        super().__init__()
        self.decoder = student.decoder(features)

    def forward(self, waves: Tensor | None, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and the teacher's features as the embedding."""
        logits: Tensor = self.decoder(teacher)
        return logits, teacher


class Concat(nn.Module):
    """Embedding and features side by side; the decoder's first layer reads both.

    Parameters
    ----------
    student : Student
        Becomes part of the model; its decoder is replaced.
    features : int >= 1
        Dimension of the teacher's features.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, student: Student, features: int) -> None:
        super().__init__()
        student.replace_classifier(student.decoder(student.dim + features))
        self.student = student

    def forward(self, waves: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the student's own embedding."""
        embedding = self.student.encode(waves)
        joined = torch.cat([embedding, teacher.to(embedding.dtype)], -1)
        return self.student.decode(joined), embedding


class FiLM(nn.Module):
    """Features scale and shift the embedding: ``γ(v) · l + β(v)``, equation 4 of hung2022.

    γ and β are one linear layer each (Perez et al., AAAI 2018).

    Parameters
    ----------
    student : Student
        Becomes part of the model.
    features : int >= 1
        Dimension of the teacher's features.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, student: Student, features: int) -> None:
        super().__init__()
        self.student = student
        self.gamma = nn.Linear(features, student.dim)
        self.beta = nn.Linear(features, student.dim)

    def forward(self, waves: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the embedding before it is scaled."""
        embedding = self.student.encode(waves)
        logits = self.student.decode(self.gamma(teacher) * embedding + self.beta(teacher))
        return logits, embedding


Model = SupervisedOnly | FeatureOnly | Concat | FiLM
_MODELS: dict[str, type[Model]] = {
    "none": SupervisedOnly,
    "feature-only": FeatureOnly,
    "concat": Concat,
    "film": FiLM,
}
NAMES = tuple(sorted(_MODELS))


def build_fusion(name: str, student: Student, features: int = 0) -> Model:
    """Return the model of a name; ``none`` is :class:`SupervisedOnly`.

    Raises
    ------
    ProbekitError
        If there is no such model, or a user's student has no ``decoder``.
    """
    if name not in _MODELS:
        raise unknown_name_error("model", name, _MODELS)
    return _MODELS[name](student, features)
