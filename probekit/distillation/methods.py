"""The methods, by name: what is trained, and what a teacher is needed for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from probekit.cards.selector import display_name
from probekit.distillation import fusion, regularizers
from probekit.distillation import teachers as teachers_module
from probekit.distillation.teachers import ALIGNMENTS, Teachers
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.students.zoo import PooledLinear, Student
from probekit.extractors.weights.state_dict import load_strict
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import summarize_ids


def load_encoder_weights(student: Student, state: Mapping[str, Tensor], label: str) -> None:
    """Give a student all weights of a network but those of the last layer.

    Parameters
    ----------
    student : Student
        Changed in place; not changed where something does not fit.
    state : mapping of str to Tensor
        A state dict of a network of the same kind.
    label : str
        What the weights are called in messages.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown, or of another shape, the last layer apart.
    """
    last = student.last
    own = student.network.state_dict()
    kept = {key: value for key, value in own.items() if last and key.startswith(last)}
    given = {key: value for key, value in state.items() if not (last and key.startswith(last))}
    load_strict(student.network, {**given, **kept}, label)


def init(
    student: Student,
    extractor: str,
    weights: Mapping[str, str] | None = None,
    reports: Path | None = None,
) -> Spec:
    """Begin with the weights of an extractor: ``init``.

    Parameters
    ----------
    student : Student
        Its network is of the same kind and size as the extractor's. Changed in place.
    extractor : str
        As after ``-e``: ``harmonic-cnn``, ``cf:width=32`` or ``runs/ID``.
    weights : mapping of str to str, optional
        As for :func:`probekit.extractors.load.resolve_spec`.
    reports : pathlib.Path, optional
        Where trained students are looked for first.

    Returns
    -------
    Spec
        Of the extractor; its fingerprint and provenance belong into the records.

    Raises
    ------
    ProbekitError
        If the network is another one, or its weights do not fit.
    """
    spec = load.resolve_spec(extractor, weights=dict(weights or {}), reports=reports)
    network = load.build(spec).network
    if isinstance(network, Student):  # a trained student as extractor
        network = network.network
    ours = type(student.network)
    if type(network) is not ours:
        theirs = "no network" if network is None else f"{type(network).__module__} has another"
        raise WeightsError(
            f"init: student {student.name} cannot begin with the weights of {extractor}: "
            f"{theirs}. It needs an extractor with the network of {ours.__module__}"
        )
    state = {key: value.clone() for key, value in network.state_dict().items()}
    load_encoder_weights(student, state, f"init: student {student.describe} from {extractor}")
    return spec


def freeze_encoder(student: Student) -> None:
    """Keep the encoder as it is, and train one linear layer on the mean of its frames: ``fix``.

    Parameters
    ----------
    student : Student
        Changed in place. Its encoder has weights worth keeping, from :func:`init`; it stays in
        evaluation mode.
    """
    student.replace(PooledLinear(student.dim, student.classes))
    student.freeze()


PLAIN = ("none", "init", "fix")
BASELINES = tuple(name for name in fusion.NAMES if name != "none")
NAMES = (*PLAIN, *regularizers.NAMES, *BASELINES)
PREDICTION_STREAMS = (
    "logits",
    "probabilities",
)  # what streams of opinions of a network's classes are called


@dataclass(frozen=True)
class Method:
    """A way to use teachers.

    Attributes
    ----------
    name : str
        As after ``--method``.
    alpha : float
        Weight of the regularizer; 0 where there is none.
    """

    name: str
    alpha: float

    @property
    def needs_teacher(self) -> bool:
        """Whether teachers are needed at all."""
        return self.name not in PLAIN

    @property
    def regularizes(self) -> bool:
        """Whether teachers are needed in training only."""
        return self.name in regularizers.NAMES

    @property
    def reads_frames(self) -> bool:
        """Whether it is the teacher's frames that are read, not their mean over time."""
        return self.needs_teacher and self.name not in ("cf-reg", "soft-targets")

    @property
    def needs_teacher_at_inference(self) -> bool:
        """Whether teachers are needed at inference, too: such a student is no extractor."""
        return self.name in BASELINES


class Penalty(nn.Module):
    """A regularizer, given what it reads.

    Parameters
    ----------
    regularizer : Regularizer
        On the embedding, or on logits.
    """

    def __init__(self, regularizer: regularizers.Regularizer) -> None:
        super().__init__()
        self.regularizer = regularizer

    def forward(self, logits: Tensor, embedding: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
        """Return how far the student is from its teachers.

        Parameters
        ----------
        logits : Tensor, shape (batch, classes)
            Of the student.
        embedding : Tensor, shape (batch, time, dim)
            Of the student.
        teacher : Tensor, shape (batch, time, features)
            Of the teachers, on the student's frames.
        valid : Tensor, shape (batch, time), bool
            Where the teachers say something.

        Returns
        -------
        Tensor
            One number.
        """
        read = logits if self.regularizer.reads == "logits" else embedding
        found: Tensor = self.regularizer(read, teacher, valid)
        return found


def make_method(
    name: str, alpha: float | None, teachers: int, init: str, alignment: str = ALIGNMENTS[0]
) -> Method:
    """Return the method of a name, if what it needs was named.

    Parameters
    ----------
    name : str
        ``none``; a regularizer; a baseline that reads the teacher's features at inference, too;
        or ``init`` and ``fix``, which begin with another network's weights.
    alpha : float, optional
        Weight of the regularizer; by default the paper's.
    teachers : int >= 0
        How many teachers were named.
    init : str
        The extractor whose weights are the student's first.
    alignment : {"time", "paper"}
        How frames come to the student's.

    Returns
    -------
    Method
        With its weight.

    Raises
    ------
    ProbekitError
        If there is no such method, or something that it needs is missing, or is of no use to it.
    """
    if name not in NAMES:
        raise unknown_name_error("method", name, NAMES)
    if alignment not in ALIGNMENTS:
        raise unknown_name_error("alignment", alignment, ALIGNMENTS)
    known = Method(name, 0.0)
    if known.needs_teacher and not teachers:
        raise ProbekitError(f"--method {name} needs a teacher: name one with --teacher")
    if not known.needs_teacher and teachers:
        raise ProbekitError(f"--method {name} has no use for a teacher: leave out --teacher")
    if name in ("init", "fix") and not init:
        raise ProbekitError(f"--method {name} needs --init EXTRACTOR, whose weights come first")
    if init and name not in ("init", "fix"):
        raise ProbekitError("--init is for --method init and --method fix")
    if not known.needs_teacher and alignment != ALIGNMENTS[0]:
        raise ProbekitError(
            f"--alignment {alignment} is how a teacher's frames come to the student's; "
            f"--method {name} has no teacher"
        )
    if not known.regularizes:
        if alpha is not None:
            raise ProbekitError(f"--alpha is the weight of a regularizer; {name} is none")
        return known
    if alpha is not None and not 0 < alpha < float("inf"):
        raise ProbekitError(f"--alpha {alpha:g}: above 0")
    return Method(name, regularizers.alpha(name) if alpha is None else alpha)


def model(method: Method, student: Student, features: int) -> nn.Module:
    """Return what is trained: the student, and what else reads the teachers' features.

    Parameters
    ----------
    method : Method
        Which.
    student : Student
        With its first weights.
    features : int
        Numbers a frame of the teachers; 0 without any.

    Returns
    -------
    torch.nn.Module
        ``forward(waves, teacher) -> (logits, embedding)``.
    """
    if method.name == "fix":
        freeze_encoder(student)
    return fusion.build(
        method.name if method.needs_teacher_at_inference else "none", student, features
    )


def penalty(
    method: Method,
    teachers: Teachers | None,
    student: Student,
    target: str,
    classes: Sequence[str] = (),
) -> Penalty | None:
    """Return what is added to the loss, or None.

    Parameters
    ----------
    method : Method
        Which.
    teachers : Teachers or None
        Whose features it reads.
    student : Student
        Whom they teach.
    target : {"single", "multi", "regression"}
        What the task asks for.
    classes : sequence of str
        The task's, in their order.

    Returns
    -------
    Penalty or None
        With fresh weights.

    Raises
    ------
    ProbekitError
        If the teachers' features do not suit the method.
    """
    if not method.regularizes or teachers is None:
        return None
    if method.name == "soft-targets" and target == "regression":
        raise ProbekitError("soft-targets compare opinions of classes; the task asks for numbers")
    columns = _columns(teachers, classes) if method.name == "soft-targets" else None
    opinions = {source["stream"] for source in teachers.sources} == {"probabilities"}
    made = regularizers.build(
        method.name,
        teachers.features,
        student.dim,
        classes=student.classes,
        target="single" if target == "single" else "multi",
        form="probabilities" if opinions else "logits",
        columns=columns,
    )
    return Penalty(made)


def _columns(teachers: Teachers, classes: Sequence[str]) -> list[int] | None:
    """Return where a teacher that knows its classes' names has the task's; None for others."""
    [member, *others] = teachers.members
    theirs = teachers_module.classes(member.embeddings)
    if others or theirs is None:
        return None
    called, stream = display_name(member.chosen.name), member.read.stream
    if stream not in PREDICTION_STREAMS:
        raise ProbekitError(
            f"soft-targets: {stream!r} of {called} is no opinion of its classes; name its stream "
            f"of {' or '.join(PREDICTION_STREAMS)}, if it has one"
        )
    only = sorted(set(theirs) - set(classes)), sorted(set(classes) - set(theirs))
    if any(only):
        said = [f"{summarize_ids(own)} only {of}" for own, of in zip(only, ("there", "in the task"),
                                                             strict=True) if own]  # fmt: skip
        raise ProbekitError(
            f"soft-targets: the classes of {called} are not the task's: {'; '.join(said)}. Name a "
            "teacher of these very classes"
        )
    return [theirs.index(name) for name in classes]
