"""The transfer modes of lee2019: a network begins with, or keeps, what another has learnt.

``base`` is a student from scratch, ``kd`` the regularizer ``cf-reg``; here are ``init`` and
``fix``.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.states import fit
from probekit.extractors.students import PooledLinear, Student


def take(student: Student, state: Mapping[str, Tensor], label: str) -> None:
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
    fit(student.network, {**given, **kept}, label)


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
        As for :func:`probekit.extractors.load.specify`.
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
    spec = load.specify(extractor, weights=dict(weights or {}), reports=reports)
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
    take(student, state, f"init: student {student.text} from {extractor}")
    return spec


def fix(student: Student) -> None:
    """Keep the encoder as it is, and train one linear layer on the mean of its frames: ``fix``.

    Parameters
    ----------
    student : Student
        Changed in place. Its encoder has weights worth keeping, from :func:`init`; it stays in
        evaluation mode.
    """
    student.replace(PooledLinear(student.dim, student.classes))
    student.freeze()
