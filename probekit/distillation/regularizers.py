"""What pulls a student's embedding towards a teacher's features.

All work on an embedding ``l`` of shape (clips, time, dim), features ``v`` of shape (clips, time,
features) that were aligned to its frames, and ``valid``, which says where the teacher has any. How
time and pairs are reduced is not in hung2022; what is done here is said in each class, and one rule
holds for all: a frame where the teacher has nothing does not count, and where nothing counts the
result is 0.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

ALPHA = {"con-reg": 5.0, "dis-reg": 1.0}  # hung2022, section III.C
DEFAULT_ALPHA = 1.0
_EPS = 1e-8  # least length of a vector that has a direction


class Regularizer(nn.Module):
    """Base of all: arithmetic of at least float32, also where the student trains in less.

    ``reads`` says what :meth:`forward` is given as its first argument.
    """

    reads: Literal["embedding", "logits"] = "embedding"

    def forward(self, l: Tensor, v: Tensor, valid: Tensor) -> Tensor:  # noqa: E741
        """Return the loss.

        Parameters
        ----------
        l : Tensor, shape (clips, time, dim)
            The student's embedding; shape (clips, classes) for :class:`SoftTargets`.
        v : Tensor, shape (clips, time, features)
            The teacher's features at the same times; finite everywhere.
        valid : Tensor, shape (clips, time), bool
            Where the teacher has features.

        Returns
        -------
        Tensor, shape ()
            At least 0.
        """
        with torch.autocast(l.device.type, enabled=False):
            return self.loss(_to_float32(l), _to_float32(v), valid)

    def loss(self, l: Tensor, v: Tensor, valid: Tensor) -> Tensor:  # noqa: E741
        """Return the loss; as :meth:`forward`, in float32 or float64."""
        raise NotImplementedError


class _Matched(Regularizer):
    """Compares the embedding with ``f(v)``; ``f`` is a 1×1 convolution over time with a bias.

    Parameters
    ----------
    features : int >= 1
        Numbers a frame of the teacher.
    dim : int >= 1
        Numbers a frame of the student's embedding.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.f = nn.Conv1d(features, dim, 1)

    def loss(self, l: Tensor, v: Tensor, valid: Tensor) -> Tensor:  # noqa: E741
        """Return the mean of :meth:`distance` over all frames of all clips that are valid."""
        mapped = self.f(v.transpose(1, 2)).transpose(1, 2)
        return _mean(self.distance(l, mapped), valid)

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Return distances, shape (clips, time), of vectors (clips, time, dim)."""
        raise NotImplementedError


class ConReg(_Matched):
    """Con-Reg of hung2022, equation 2: the cosine distance of ``l`` and ``f(v)``.

    The distance is taken frame by frame, and its mean over the valid frames of the batch.
    """

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Return ``1 - cos``, from 0 to 2."""
        return 1 - (_l2_normalize(one) * _l2_normalize(other)).sum(-1)


class L1(_Matched):
    """Mean absolute difference of ``l`` and ``f(v)``, over dimensions, then valid frames."""

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Return means over the last axis."""
        return (one - other).abs().mean(-1)


class L2(_Matched):
    """Mean squared difference of ``l`` and ``f(v)``, over dimensions, then valid frames."""

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Return means over the last axis."""
        return (one - other).square().mean(-1)


class DisReg(Regularizer):
    """Dis-Reg of hung2022, equation 3: distances between clips as the teacher has them.

    ``|d(l_i, l_j) - d(v_i, v_j)|`` with the cosine distance d, for all pairs i ≠ j of clips of the
    batch and each time step, the same in both; the mean is over pairs and steps that are valid in
    both clips. It has no parameters; a batch of one clip gives 0.
    """

    def loss(self, l: Tensor, v: Tensor, valid: Tensor) -> Tensor:  # noqa: E741
        """Return the mean difference."""
        ours, theirs = (_l2_normalize(x).transpose(0, 1) for x in (l, v))  # (time, clips, …)
        # the ones of 1 - cos cancel
        difference = (ours @ ours.mT - theirs @ theirs.mT).abs()
        held = valid.T
        pairs = held[:, :, None] & held[:, None, :]
        pairs = pairs & ~torch.eye(len(l), dtype=torch.bool, device=l.device)
        return _mean(difference, pairs)


class CFReg(Regularizer):
    """Lee2019's ``kd``: the penultimate layer is pulled towards the CF vector of the song.

    The poster gives neither the distance nor how the two lengths are matched; ours: the embedding's
    mean over time, through a linear layer to the length of the CF vector, and the mean squared
    difference. The CF vector is the mean of ``v`` over its valid frames (which are the same where
    it is one a clip); clips without any do not count.

    Parameters
    ----------
    features : int >= 1
        Length of the CF vector.
    dim : int >= 1
        Length of the penultimate layer.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.g = nn.Linear(dim, features)

    def loss(self, l: Tensor, v: Tensor, valid: Tensor) -> Tensor:  # noqa: E741
        """Return the mean squared difference, over numbers, then clips."""
        error = (self.g(l.mean(1)) - _over_time(v, valid)).square().mean(-1)
        return _mean(error, valid.any(1))


class SoftTargets(Regularizer):
    """Soft targets (Hinton et al., 2015, arXiv:1503.02531): the teacher's opinion of the classes.

    Both opinions are softened by the temperature T and compared by the Kullback-Leibler divergence,
    times T² so that gradients keep their size: of the softmax over classes for single labels, of
    each class's sigmoid (mean over classes) for tags. The teacher's frames are averaged over time
    first, as scores of chunks are.

    Parameters
    ----------
    temperature : float > 0
        1 leaves the teacher's probabilities as they are.
    target : {"single", "multi"}
        Softmax, or a sigmoid for each class.
    form : {"logits", "probabilities"}
        What the teacher's stream holds.
    columns : sequence of int, optional
        Where the teacher has each of the student's classes; by default in the same order.
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
            raise ProbekitError(f"soft-targets: temperature {temperature}; it is more than 0")
        self.temperature = temperature
        self.target = target
        self.form = form
        places = None if columns is None else torch.tensor(list(columns), dtype=torch.long)
        self.register_buffer("columns", places, persistent=False)

    def loss(self, l: Tensor, v: Tensor, valid: Tensor) -> Tensor:  # noqa: E741
        """Return the divergence; ``l`` are the student's logits, shape (clips, classes)."""
        theirs = _over_time(v, valid)
        if self.columns is not None:
            theirs = theirs[:, self.columns]
        if self.form == "probabilities":
            least = torch.finfo(theirs.dtype).eps
            theirs = theirs.clamp(least, 1 - least)
            theirs = theirs.log() if self.target == "single" else theirs.logit()
        ours, theirs = l / self.temperature, theirs / self.temperature
        if self.target == "single":
            p, q = theirs.log_softmax(-1), ours.log_softmax(-1)
            divergence = (p.exp() * (p - q)).sum(-1)
        else:
            sigmoid = nn.functional.logsigmoid
            yes = theirs.sigmoid() * (sigmoid(theirs) - sigmoid(ours))
            no = (-theirs).sigmoid() * (sigmoid(-theirs) - sigmoid(-ours))
            divergence = (yes + no).mean(-1)
        return _mean(divergence, valid.any(1)) * self.temperature**2


NAMES = ("con-reg", "dis-reg", "l1", "l2", "soft-targets", "cf-reg")


def build(
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
    """Return the regularizer of a name.

    Parameters
    ----------
    name : {"con-reg", "dis-reg", "l1", "l2", "soft-targets", "cf-reg"}
        Which one.
    features : int >= 1
        Numbers a frame of the teacher.
    dim : int >= 1
        Numbers a frame of the student's embedding.
    classes : int, optional
        For soft targets: classes of the student, which the teacher must have, too.
    target : {"single", "multi"}
        For soft targets, as the next three: see :class:`SoftTargets`.
    temperature : float > 0
        See there.
    form : {"logits", "probabilities"}
        See there.
    columns : sequence of int, optional
        See there.

    Returns
    -------
    Regularizer
        With fresh weights.

    Raises
    ------
    ProbekitError
        If the name is not known, or the teacher's features cannot be opinions of the classes.
    """
    if name not in NAMES:
        raise unknown_name_error("regularizer", name, NAMES)
    if name == "dis-reg":
        return DisReg()
    if name == "soft-targets":
        if classes is not None and features != classes:
            raise ProbekitError(
                f"soft-targets: the teacher has {features} numbers a frame, the task {classes} "
                "classes. Name a stream with the logits or probabilities of these very classes"
            )
        return SoftTargets(temperature, target, form, columns)
    made: dict[str, type[_Matched] | type[CFReg]] = {
        "con-reg": ConReg, "l1": L1, "l2": L2, "cf-reg": CFReg,
    }  # fmt: skip
    return made[name](features, dim)


def alpha(name: str) -> float:
    """Return the default weight of a regularizer: hung2022's where the paper has one, else 1."""
    return ALPHA.get(name, DEFAULT_ALPHA)


def _to_float32(x: Tensor) -> Tensor:
    """Return bfloat16 and float16 as float32, others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _l2_normalize(x: Tensor) -> Tensor:
    """Return vectors of length 1; of a vector that is 0, 0."""
    return nn.functional.normalize(x, dim=-1, eps=_EPS)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over what counts, 0 where nothing does."""
    kept = torch.where(counted, values, torch.zeros_like(values))
    return kept.sum() / counted.sum().clamp_min(1)


def _over_time(v: Tensor, valid: Tensor) -> Tensor:
    """Return means over the valid frames, shape (clips, features)."""
    kept = torch.where(valid[..., None], v, torch.zeros_like(v))
    return kept.sum(1) / valid.sum(1, keepdim=True).clamp_min(1)
