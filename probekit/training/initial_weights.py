"""Initial weights of a network from an extractor of the same kind."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.students.base import Student
from probekit.extractors.weights.state_dict import load_strict


def init_from_extractor(
    student: Student,
    extractor: str,
    weights: Mapping[str, str] | None = None,
    reports: Path | None = None,
) -> Spec:
    """Load the weights of an extractor into a student, but those of the last layer: ``init``.

    Parameters
    ----------
    student : Student
        Changed in place. Its network is of the same kind and size as the extractor's.
    extractor : str
        As after ``-e``: ``harmonic-cnn``, ``cf:width=32`` or ``runs/ID``.
    weights : mapping of str to str, optional
        As for :func:`probekit.extractors.load.resolve_spec`.
    reports : pathlib.Path, optional
        Reports folder where trained students are looked up first.

    Returns
    -------
    Spec
        Of the extractor.

    Raises
    ------
    ProbekitError
        If the extractor has another network, or its weights do not fit.
    """
    spec = load.resolve_spec(extractor, weights=dict(weights or {}), reports=reports)
    network = load.build_extractor(spec).network
    if isinstance(network, Student):  # a trained student as extractor
        network = network.network
    expected = type(student.network)
    if type(network) is not expected:
        problem = "no network" if network is None else f"{type(network).__module__} has another"
        raise WeightsError(
            f"init: student {student.name} cannot start with the weights of {extractor}: "
            f"{problem}. It needs an extractor with the network of {expected.__module__}"
        )
    state = {key: value.clone() for key, value in network.state_dict().items()}
    load_encoder_weights(student, state, f"init: student {student.spec} from {extractor}")
    return spec


def load_encoder_weights(student: Student, state: Mapping[str, Tensor], label: str) -> None:
    """Load a state dict, but for the last layer, into a student of the same kind of network.

    Parameters
    ----------
    student : Student
        Changed in place; not changed if something does not fit.
    state : mapping of str to Tensor
        State dict.
    label : str
        Name of the weights in messages.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown, or of another shape, except in the last layer.
    """
    last = student.classifier_prefix
    initial = student.network.state_dict()
    classifier = {k: value for k, value in initial.items() if last and k.startswith(last)}
    encoder = {k: value for k, value in state.items() if not (last and k.startswith(last))}
    load_strict(student.network, {**encoder, **classifier}, label)
