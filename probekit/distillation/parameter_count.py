"""Number of parameters that a method trains, and needs at inference (hung2022, Table II)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from probekit import cards
from probekit.cards.selector import parse_selector
from probekit.distillation import fusion, regularizers
from probekit.errors import ProbekitError
from probekit.extractors import load, networks
from probekit.extractors.students import zoo
from probekit.utils.suggest import unknown_name_error

CLASSES = 17  # of DCASE2017: the paper's numbers follow from them, not from 50 tags
TEACHERS = {
    "VGG": ("vggish:stream=pca8",),
    "L3": ("openl3:content=music,input=mel256,size=512",),
    "Comb.": ("vggish:stream=pca8", "openl3:content=music,input=mel256,size=512"),
}
METHODS = ("feature-only", "concat", "film", "con-reg", "dis-reg")


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters.

    Attributes
    ----------
    method : str
        A model of :mod:`~probekit.distillation.fusion` or a regularizer.
    teachers : tuple of str
        Teachers, as after ``-e``.
    training : int
        Parameters that are trained.
    inference : int
        Parameters that a prediction needs, with those of the teachers if the method needs them.
    """

    method: str
    teachers: tuple[str, ...]
    training: int
    inference: int


def count_method(
    method: str, teachers: Sequence[str] = (), student: str = "harmonic-cnn", classes: int = CLASSES
) -> ParameterCount:
    """Count the parameters of a method; needs no weight files.

    Parameters
    ----------
    method : str
        ``none``, ``feature-only``, ``concat``, ``film``, or the name of a regularizer.
    teachers : sequence of str
        Extractors as after ``-e``; their features are side by side.
    student : str
        As for :func:`probekit.extractors.students.zoo.build_student`.
    classes : int >= 1
        Number of outputs.

    Returns
    -------
    ParameterCount
        Without running statistics of normalization.

    Raises
    ------
    ProbekitError
        If a name is unknown, or the method needs a teacher.
    """
    sizes = [count_teacher(name) for name in teachers]
    features = sum(dim for dim, _ in sizes)
    if not features and method != "none":
        raise ProbekitError(f"method {method} needs a teacher")
    with torch.random.fork_rng(devices=()):  # leaves the random numbers of training alone
        network = zoo.build_student(student, classes)
        if method in fusion.NAMES:
            model = fusion.build_fusion(method, network, features)
            trained = count_parameters(model)
        else:
            model = fusion.SupervisedOnly(network)
            trained = count_parameters(model) + count_parameters(
                regularizers.build_regularizer(method, features, network.dim)
            )
    teacher_size = sum(size for _, size in sizes) if model.needs_teacher else 0
    return ParameterCount(method, tuple(teachers), trained, count_parameters(model) + teacher_size)


def parameter_table(student: str = "harmonic-cnn", classes: int = CLASSES) -> list[ParameterCount]:
    """Return Table II of hung2022, or the same for another student.

    Method by method, with VGGish, OpenL3 and both as teachers.
    """
    return [count_method(m, t, student, classes) for m in METHODS for t in TEACHERS.values()]


@cache
def count_teacher(text: str) -> tuple[int, int]:
    """Return the dimension of a teacher's stream, and the number of the teacher's parameters.

    Parameters
    ----------
    text : str
        An extractor as after ``-e``. The parameters of a PCA count if the stream needs it.

    Raises
    ------
    ProbekitError
        If there is no such extractor or stream.
    """
    selector = parse_selector(text)
    with torch.random.fork_rng(devices=()):
        if selector.name not in cards.card_paths("extractors"):
            extractor = load.build_extractor(load.resolve_spec(text))
            return extractor.streams[extractor.stream_names[0]].dim, count_parameters(extractor)
        card = cards.load_extractor_card(selector.name)
        stream = selector.stream or card.default_stream
        if stream not in card.streams:
            raise unknown_name_error(f"stream of {card.name}", stream, card.streams)
        module = networks.import_network(card)
        extractor = module.build(card, load.parse_parameters(card, selector.params), (stream,))
    return extractor.streams[stream].dim, count_parameters(extractor)


def format_count(number: int) -> str:
    """Return a count as the paper prints it: ``38k``, ``3.7M``."""
    return f"{number / 1e3:.0f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def count_parameters(module: nn.Module) -> int:
    """Return the number of a module's parameters, without running statistics."""
    return sum(parameter.numel() for parameter in module.parameters())
