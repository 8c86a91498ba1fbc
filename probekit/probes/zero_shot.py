"""Zero-shot classification: sounds are compared with their classes' names as texts.

Models of sound and text (CLAP) put both into one space. The vector of a class is the mean of those
of its sentences, one a template; scores are cosines times the model's scale. Nothing is fitted, so
no label is used.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache.embeddings import Embeddings
from probekit.cache.texts import TEMPLATES, SavedTexts, fill_template, load_texts
from probekit.errors import DataError, ProbekitError
from probekit.probes.base import FitContext, SelectedModel
from probekit.probes.features import Features
from probekit.probes.pretrained_head import Passthrough

NAME = "zero-shot"


@dataclass(frozen=True)
class ZeroShot:
    """Class names as texts.

    Attributes
    ----------
    templates : tuple of str
        Sentences with ``{}`` for the class name; several are averaged.
    digest : str
        SHA-256 of the vectors; set by :func:`prepare`.
    name : str
        As after ``--probe``.
    seeded : bool
        False: nothing is random.
    """

    templates: tuple[str, ...] = TEMPLATES
    digest: str = ""
    name: str = NAME
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the templates and what identifies the vectors."""
        return {"version": 1, "templates": list(self.templates), "texts": self.digest}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Raise: there is nothing to fit; see :func:`passthrough`."""
        raise NotImplementedError


def parse(template: str) -> ZeroShot:
    """Return the probe of ``zero-shot`` (all templates) or ``zero-shot:TEMPLATE``.

    Raises
    ------
    ProbekitError
        If a template has no place for the class name.
    """
    if not template:
        return ZeroShot()
    if template.count("{}") != 1:
        raise ProbekitError(
            f"--probe {NAME}:{template}: a template must contain {{}} once, for the class name"
        )
    return ZeroShot((template,), name=f"{NAME}:{template}")


def alternatives(probe: ZeroShot) -> list[ZeroShot]:
    """Return the probe, then that of each of its templates if there are several."""
    singles = [parse(template) for template in probe.templates] if len(probe.templates) > 1 else []
    return [probe, *singles]


def prepare(probe: ZeroShot, features: Features) -> tuple[ZeroShot, Features]:
    """Return a probe and features that fit together, with the identity of the texts.

    Raises
    ------
    DataError
        If there are several extractors, the model has no texts, or another stream was selected.
    """
    if len(features.members) > 1:
        raise DataError(f"{features.label}: --probe {NAME} needs a single extractor")
    [(selector, embeddings)] = features.members
    texts = _load(embeddings)
    if selector.stream not in ("", texts.stream):
        raise DataError(
            f"{selector}: texts are in the space of the stream {texts.stream}, not of "
            f"{selector.stream}"
        )
    if selector.pool != ("mean",):
        raise DataError(f"{selector}: --probe {NAME} reads the mean over windows; leave out pool=")
    if texts.stream not in embeddings.stream_info:
        raise DataError(
            f"{selector}: the stream {texts.stream} is not in {embeddings.folder}. Extract again "
            f"with --streams {texts.stream}"
        )
    members = ((replace(selector, stream=texts.stream), embeddings),)
    return replace(probe, digest=texts.digest), replace(features, members=members)


def text_scores(
    probe: ZeroShot, embeddings: Embeddings, classes: tuple[str, ...], vectors: Array
) -> Array:
    """Return logits of clips for classes.

    Parameters
    ----------
    probe : ZeroShot
        With its templates.
    embeddings : Embeddings
        Beside which the texts are.
    classes : tuple of str
        The task's classes.
    vectors : numpy.ndarray, shape (clips, dim)
        The clips' vectors of the stream of the texts.

    Returns
    -------
    numpy.ndarray, shape (clips, classes)
        Cosines times the scale.

    Raises
    ------
    DataError
        If a text is not in the cache.
    """
    texts = _load(embeddings)
    try:
        by_template = [
            texts.select([fill_template(template, name) for name in classes])
            for template in probe.templates
        ]
    except KeyError as error:
        raise DataError(
            f"{embeddings.layout.label}: no vector of the text {error.args[0]!r} in "
            f"{embeddings.folder.parent}. Vectors of the class names of a task are made by: "
            f"probekit extract -e {embeddings.layout.label} --task NAME --root DIR"
            + ("" if probe.templates == TEMPLATES else f" --template {probe.templates[0]!r}")
        ) from error
    weights = _normalize(np.mean(by_template, axis=0))
    return texts.scale * (_normalize(vectors) @ weights.T)


def passthrough() -> SelectedModel:
    """Return the probe of a split: features are its scores."""
    return SelectedModel(Passthrough(False), selected_on="nothing: no label is used")


def _load(embeddings: Embeddings) -> SavedTexts:
    texts = load_texts(embeddings.folder.parent)
    if texts is None:
        raise DataError(
            f"{embeddings.layout.label}: no texts in {embeddings.folder.parent}. --probe {NAME} is "
            "for models of sound and text with a tokenizer (hf: models of type clap); their texts "
            "are embedded by probekit extract"
        )
    return texts


def _normalize(vectors: Array) -> Array:
    """Return vectors of length 1; one of zeros stays."""
    values = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1))
