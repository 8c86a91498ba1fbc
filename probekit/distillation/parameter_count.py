"""How many parameters a method trains, and how many it needs at inference (hung2022, Table II)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from probekit import cards
from probekit.cards.selector import parse
from probekit.distillation import fusion, regularizers
from probekit.errors import ProbekitError
from probekit.extractors import load, networks
from probekit.extractors.students import zoo
from probekit.utils.suggest import unknown_name_error

CLASSES = 17  # of DCASE2017: the paper's numbers come out with them, not with 50 tags
TEACHERS = {
    "VGG": ("vggish:stream=pca8",),
    "L3": ("openl3:content=music,input=mel256,size=512",),
    "Comb.": ("vggish:stream=pca8", "openl3:content=music,input=mel256,size=512"),
}
METHODS = ("feature-only", "concat", "film", "con-reg", "dis-reg")


@dataclass(frozen=True)
class Count:
    """Numbers of parameters.

    Attributes
    ----------
    method : str
        A model of :mod:`~probekit.distillation.fusion` or a regularizer.
    teachers : tuple of str
        As after ``-e``.
    training : int
        What is trained.
    inference : int
        What a prediction needs, with the teachers' networks where the method needs these.
    """

    method: str
    teachers: tuple[str, ...]
    training: int
    inference: int


def count(
    method: str, teachers: Sequence[str] = (), student: str = "harmonic-cnn", classes: int = CLASSES
) -> Count:
    """Count the parameters of a method; no weights files are needed.

    Parameters
    ----------
    method : str
        ``none``, ``feature-only``, ``concat``, ``film``, or the name of a regularizer.
    teachers : sequence of str
        Extractors as after ``-e``; their features stand side by side.
    student : str
        As for :func:`probekit.extractors.students.zoo.build`.
    classes : int >= 1
        Outputs.

    Returns
    -------
    Count
        Parameters; running statistics of normalization are not among them.

    Raises
    ------
    ProbekitError
        If a name is not known.
    """
    found = [count_teacher(text) for text in teachers]
    features = sum(dim for dim, _ in found)
    if not features and method != "none":
        raise ProbekitError(f"method {method}: it needs a teacher")
    with torch.random.fork_rng(devices=()):  # a count draws no numbers that training would draw
        made = zoo.build(student, classes)
        if method in fusion.NAMES:
            model = fusion.build(method, made, features)
            trained = _size(model)
        else:
            model = fusion.SupervisedOnly(made)
            trained = _size(model) + _size(regularizers.build(method, features, made.dim))
    heard = sum(size for _, size in found) if model.needs_teacher else 0
    return Count(method, tuple(teachers), trained, _size(model) + heard)


def table(student: str = "harmonic-cnn", classes: int = CLASSES) -> list[Count]:
    """Return Table II of hung2022, or the same for another student.

    Parameters
    ----------
    student : str
        As for :func:`count`.
    classes : int >= 1
        Outputs.

    Returns
    -------
    list of Count
        Method by method, for each VGGish, OpenL3 and both.
    """
    return [count(m, t, student, classes) for m in METHODS for t in TEACHERS.values()]


@cache
def count_teacher(text: str) -> tuple[int, int]:
    """Return what a teacher gives and what it costs.

    Parameters
    ----------
    text : str
        An extractor as after ``-e``.

    Returns
    -------
    dim : int
        Numbers a frame of the stream.
    size : int
        Parameters of its networks, also of a PCA that the stream needs.

    Raises
    ------
    ProbekitError
        If there is no such extractor or stream.
    """
    chosen = parse(text)
    with torch.random.fork_rng(devices=()):
        if chosen.name not in cards.card_paths("extractors"):
            extractor = load.build(load.resolve_spec(text))
            return extractor.streams[extractor.wanted[0]].dim, _size(extractor)
        card = cards.load_extractor_card(chosen.name)
        stream = chosen.stream or card.default_stream
        if stream not in card.streams:
            raise unknown_name_error(f"stream of {card.name}", stream, card.streams)
        module = networks.import_network(card)
        extractor = module.build(card, load.parse_parameters(card, chosen.params), (stream,))
    return extractor.streams[stream].dim, _size(extractor)


def format_count(number: int) -> str:
    """Return a count as the paper prints it: ``38k``, ``3.7M``."""
    return f"{number / 1e3:.0f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def _size(module: nn.Module) -> int:
    """Return how many parameters a module has that are or were trained."""
    return sum(own.numel() for own in module.parameters())
