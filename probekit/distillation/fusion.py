"""Models in which the teacher's features may go into the decoder (hung2022, section III.A).

Each is called as ``model(waves, v)`` and returns logits and the embedding. All but :class:`SupervisedOnly`
need the teacher at inference.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from probekit.extractors.students.zoo import Student
from probekit.utils.suggest import unknown_name_error


class SupervisedOnly(nn.Module):
    """The student alone; also what regularizers and transfer modes train.

    Parameters
    ----------
    student : Student
        Becomes part of the model.
    features : int
        Of no use here.

    Attributes
    ----------
    needs_teacher : bool
        Whether a prediction needs the teacher's features.
    """

    needs_teacher: ClassVar[bool] = False

    def __init__(self, student: Student, features: int = 0) -> None:
        super().__init__()
        self.student = student

    def forward(self, waves: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and embedding.

        Parameters
        ----------
        waves : Tensor, shape (clips, samples)
            Crops at the student's rate.
        v : Tensor, shape (clips, time, features), or None
            The teacher's features at the student's frames; 0 where there are none.

        Returns
        -------
        logits : Tensor, shape (clips, classes)
            Before softmax or sigmoid.
        l : Tensor, shape (clips, time, dim)
            What regularizers read.
        """
        embedding = self.student.encode(waves)
        return self.student.decode(embedding), embedding


class FeatureOnly(nn.Module):
    """The student's decoder on the teacher's features; nothing is heard.

    Parameters
    ----------
    student : Student
        Gives the decoder's shape; it does not become part of the model.
    features : int >= 1
        Numbers a frame of the teacher.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, student: Student, features: int) -> None:
        super().__init__()
        self.decoder = student.decoder(features)

    def forward(self, waves: Tensor | None, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and ``v`` as the embedding; see :meth:`Plain.forward`."""
        logits: Tensor = self.decoder(v)
        return logits, v


class Concat(nn.Module):
    """Embedding and features side by side; the decoder's first layer reads both.

    Parameters
    ----------
    student : Student
        Becomes part of the model; its decoder is replaced.
    features : int >= 1
        Numbers a frame of the teacher.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, student: Student, features: int) -> None:
        super().__init__()
        student.replace(student.decoder(student.dim + features))
        self.student = student

    def forward(self, waves: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the student's own embedding; see :meth:`Plain.forward`."""
        embedding = self.student.encode(waves)
        both = torch.cat([embedding, v.to(embedding.dtype)], -1)
        return self.student.decode(both), embedding


class FiLM(nn.Module):
    """Features scale and shift the embedding: ``γ(v) · l + β(v)``, equation 4 of hung2022.

    γ and β are one linear layer each (Perez et al., AAAI 2018).

    Parameters
    ----------
    student : Student
        Becomes part of the model.
    features : int >= 1
        Numbers a frame of the teacher.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, student: Student, features: int) -> None:
        super().__init__()
        self.student = student
        self.gamma = nn.Linear(features, student.dim)
        self.beta = nn.Linear(features, student.dim)

    def forward(self, waves: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the embedding before it is scaled; see :meth:`Plain.forward`."""
        embedding = self.student.encode(waves)
        return self.student.decode(self.gamma(v) * embedding + self.beta(v)), embedding


Model = SupervisedOnly | FeatureOnly | Concat | FiLM
_MODELS: dict[str, type[Model]] = {
    "none": SupervisedOnly, "feature-only": FeatureOnly, "concat": Concat, "film": FiLM,
}  # fmt: skip
NAMES = tuple(sorted(_MODELS))


def build(name: str, student: Student, features: int = 0) -> Model:
    """Return the model of a name.

    Parameters
    ----------
    name : {"none", "feature-only", "concat", "film"}
        ``none`` is :class:`SupervisedOnly`.
    student : Student
        See the classes.
    features : int
        Numbers a frame of the teacher.

    Returns
    -------
    torch.nn.Module
        With ``needs_teacher``.

    Raises
    ------
    ProbekitError
        If the name is not known, or a student of the user's has no ``decoder``.
    """
    if name not in _MODELS:
        raise unknown_name_error("model", name, _MODELS)
    return _MODELS[name](student, features)
