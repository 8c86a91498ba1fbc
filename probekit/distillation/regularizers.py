"""Regularizers: losses that pull a student's embedding towards a teacher's features.

All compare the student's embedding, shape (clips, time, dim), with the teacher's features, shape
(clips, time, features), aligned to its frames; ``valid`` tells where the teacher has features. In
the formulas ``l`` is the student's and ``v`` the teacher's. hung2022 does not say how time and
pairs are reduced; each class documents its choice. Frames without features do not count, and the
loss is 0 if none counts.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

ALPHA = {"con-reg": 5.0, "dis-reg": 1.0}  # hung2022, section III.C
DEFAULT_ALPHA = 1.0
_EPS = 1e-8  # minimum length of a vector that has a direction


class Regularizer(nn.Module):
    """Base class of regularizers; computes in at least float32, whatever the student trains in.

    ``reads`` names the first argument of :meth:`forward`.
    """

    reads: Literal["embedding", "logits"] = "embedding"

    def forward(self, student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        student : Tensor, shape (clips, time, dim)
            Student's embedding; its logits, shape (clips, classes), for :class:`SoftTargets`.
        teacher : Tensor, shape (clips, time, features)
            Teacher's features at the same times; finite everywhere.
        valid : Tensor, shape (clips, time), bool
            Where the teacher has features.

        Returns
        -------
        Tensor, shape ()
            At least 0.
        """
        with torch.autocast(student.device.type, enabled=False):
            return self.loss(_to_float32(student), _to_float32(teacher), valid)

    def loss(self, student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return the loss of float32 or float64 tensors."""
        raise NotImplementedError


class _Projected(Regularizer):
    """Compares the embedding with ``f(v)``, where ``f`` is a 1×1 convolution with bias.

    Parameters
    ----------
    features : int >= 1
        Dimension of the teacher's features.
    dim : int >= 1
        Dimension of the student's embedding.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.f = nn.Conv1d(features, dim, 1)

    def loss(self, student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return the mean of :meth:`distance` over all valid frames of all clips."""
        projected = self.f(teacher.transpose(1, 2)).transpose(1, 2)
        return _masked_mean(self.distance(student, projected), valid)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Return distances, shape (clips, time), of vectors (clips, time, dim)."""
        raise NotImplementedError


class ConReg(_Projected):
    """Con-Reg of hung2022, equation 2: the cosine distance of ``l`` and ``f(v)``.

    Mean over the valid frames of the batch.
    """

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``1 - cos``, from 0 to 2."""
        return 1 - (_l2_normalize(x) * _l2_normalize(y)).sum(-1)


class L1(_Projected):
    """Mean absolute difference of ``l`` and ``f(v)``, over dimensions, then valid frames."""

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Return means over the last axis."""
        return (x - y).abs().mean(-1)


class L2(_Projected):
    """Mean squared difference of ``l`` and ``f(v)``, over dimensions, then valid frames."""

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Return means over the last axis."""
        return (x - y).square().mean(-1)


class DisReg(Regularizer):
    """Dis-Reg of hung2022, equation 3: preserves the teacher's distances between clips.

    ``|d(l_i, l_j) - d(v_i, v_j)|`` with the cosine distance d, for all pairs i ≠ j of clips of the
    batch at the same time step; the mean is over pairs and steps that are valid in both clips. It
    has no parameters; a batch of one clip gives 0.
    """

    def loss(self, student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return the mean difference."""
        student, teacher = (_l2_normalize(x).transpose(0, 1) for x in (student, teacher))
        # shape (time, clips, clips); the ones of 1 - cos cancel
        difference = (student @ student.mT - teacher @ teacher.mT).abs()
        pairs = valid.T[:, :, None] & valid.T[:, None, :]
        pairs = pairs & ~torch.eye(valid.shape[0], dtype=torch.bool, device=valid.device)
        return _masked_mean(difference, pairs)


class CFReg(Regularizer):
    """Lee2019's ``kd``: pulls the penultimate layer towards the CF vector of the song.

    The poster gives neither the distance nor how the two dimensions are matched. Here: the
    embedding's mean over time, through a linear layer to the dimension of the CF vector, and the
    mean squared difference. The CF vector is the mean of ``v`` over its valid frames, which are
    the same if there is one vector per clip; clips without any do not count.

    Parameters
    ----------
    features : int >= 1
        Dimension of the CF vector.
    dim : int >= 1
        Dimension of the penultimate layer.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.g = nn.Linear(dim, features)

    def loss(self, student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return the mean squared difference, over dimensions, then clips."""
        error = (self.g(student.mean(1)) - _time_average(teacher, valid)).square().mean(-1)
        return _masked_mean(error, valid.any(1))


class SoftTargets(Regularizer):
    """Soft targets (Hinton et al., 2015, arXiv:1503.02531): the teacher's class probabilities.

    The Kullback-Leibler divergence of student and teacher, both softened by the temperature T, is
    multiplied by T² so that gradients keep their size: divergence of the softmax over classes for
    single labels, mean over classes of that of each sigmoid for tags. The teacher's frames are
    averaged over time first, as scores of chunks are.

    Parameters
    ----------
    temperature : float > 0
        1 leaves the teacher's probabilities as they are.
    target : {"single", "multi"}
        Softmax, or a sigmoid for each class.
    form : {"logits", "probabilities"}
        Content of the teacher's stream.
    columns : sequence of int, optional
        Teacher's column of each of the student's classes; by default the same order.
    """

    reads = "logits"
    columns: Tensor | None

    def __init__(
        self,
        temperature: float = 2.0,
        target: Literal["single", "multi"] = "multi",
        form: Literal["logits", "probabilities"] = "logits",
        columns: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ProbekitError(f"soft-targets: temperature must be > 0, got {temperature}")
        self.temperature = temperature
        self.target = target
        self.form = form
        index = None if columns is None else torch.tensor(list(columns), dtype=torch.long)
        self.register_buffer("columns", index, persistent=False)

    def loss(self, student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return the divergence; ``student`` are logits, shape (clips, classes)."""
        teacher = _time_average(teacher, valid)
        if self.columns is not None:
            teacher = teacher[:, self.columns]
        if self.form == "probabilities":
            eps = torch.finfo(teacher.dtype).eps
            teacher = teacher.clamp(eps, 1 - eps)
            teacher = teacher.log() if self.target == "single" else teacher.logit()
        student, teacher = student / self.temperature, teacher / self.temperature
        if self.target == "single":
            p, q = teacher.log_softmax(-1), student.log_softmax(-1)
            divergence = (p.exp() * (p - q)).sum(-1)
        else:
            log_sigmoid = nn.functional.logsigmoid
            yes = teacher.sigmoid() * (log_sigmoid(teacher) - log_sigmoid(student))
            no = (-teacher).sigmoid() * (log_sigmoid(-teacher) - log_sigmoid(-student))
            divergence = (yes + no).mean(-1)
        return _masked_mean(divergence, valid.any(1)) * self.temperature**2


NAMES = ("con-reg", "dis-reg", "l1", "l2", "soft-targets", "cf-reg")


def build_regularizer(
    name: str,
    features: int,
    dim: int,
    *,
    classes: int | None = None,
    target: Literal["single", "multi"] = "multi",
    temperature: float = 2.0,
    form: Literal["logits", "probabilities"] = "logits",
    columns: Sequence[int] | None = None,
) -> Regularizer:
    """Return a new regularizer; the last four arguments are those of :class:`SoftTargets`.

    Parameters
    ----------
    name : {"con-reg", "dis-reg", "l1", "l2", "soft-targets", "cf-reg"}
        Name.
    features : int >= 1
        Dimension of the teacher's features.
    dim : int >= 1
        Dimension of the student's embedding.
    classes : int, optional
        For soft targets: number of the student's classes, which the teacher must have, too.

    Raises
    ------
    ProbekitError
        If the name is unknown, or the teacher's features cannot be outputs for the classes.
    """
    if name not in NAMES:
        raise unknown_name_error("regularizer", name, NAMES)
    if name == "dis-reg":
        return DisReg()
    if name == "soft-targets":
        if classes is not None and features != classes:
            raise ProbekitError(
                f"soft-targets: the teacher has {features} values per frame, but the task has "
                f"{classes} classes. Choose a stream with logits or probabilities of these classes"
            )
        return SoftTargets(temperature, target, form, columns)
    regularizers: dict[str, type[_Projected] | type[CFReg]] = {
        "con-reg": ConReg,
        "l1": L1,
        "l2": L2,
        "cf-reg": CFReg,
    }
    return regularizers[name](features, dim)


def default_alpha(name: str) -> float:
    """Return the default weight of a regularizer: hung2022's if the paper has one, else 1."""
    return ALPHA.get(name, DEFAULT_ALPHA)


def _to_float32(x: Tensor) -> Tensor:
    """Return bfloat16 and float16 as float32, others unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _l2_normalize(x: Tensor) -> Tensor:
    """Return vectors of length 1; 0 for vectors that are 0."""
    return nn.functional.normalize(x, dim=-1, eps=_EPS)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values in the mask; 0 if there are none."""
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp_min(1)


def _time_average(frames: Tensor, valid: Tensor) -> Tensor:
    """Return means over the valid frames, shape (clips, features)."""
    sums = torch.where(valid[..., None], frames, torch.zeros_like(frames)).sum(1)
    return sums / valid.sum(1, keepdim=True).clamp_min(1)
