"""Finding the embeddings that a user means in a cache."""

from pathlib import Path

from probekit import cards
from probekit.cache.embeddings import Embeddings
from probekit.errors import CacheError
from probekit.registry import did_you_mean, unknown
from probekit.selection import CHOICES, Selection, parse

__all__ = ["Embeddings", "describe", "entries", "find", "fits"]


def entries(cache: Path) -> list[Embeddings]:
    """Return all embeddings in a cache, sorted by extractor and dataset.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.

    Returns
    -------
    list of Embeddings
        One for each extractor, fingerprint and dataset.
    """
    return [Embeddings(path.parent) for path in sorted(cache.glob("*/*/dataset.json"))]


def find(cache: Path, selection: Selection | str, dataset: str) -> Embeddings:
    """Find the embeddings that a user means.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    selection : Selection or str
        Name, and where there are several, fingerprint or parameters.
    dataset : str
        Whose clips.

    Returns
    -------
    Embeddings
        The only ones that fit.

    Raises
    ------
    CacheError
        If none fit, or several do; the message names them. If there is no such parameter.
    """
    if isinstance(selection, str):
        selection = parse(selection)
    everything = entries(cache)
    own = [e for e in everything if e.layout.dataset == dataset]
    named = [e for e in own if e.layout.extractor == selection.name]
    fitting = [e for e in named if fits(e, selection)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = "\n".join(
            f"  -e {e.layout.extractor}@{e.layout.fingerprint[:8]}   {describe(e)}" for e in fitting
        )
        raise CacheError(
            f"{cache}: several embeddings called {selection} for {dataset}; say which:\n{listed}"
        )
    if named:
        _refuse_unknown(selection, named)
        listed = "\n".join(f"  {e.where.parent.name}   {describe(e)}" for e in named)
        raise CacheError(f"{cache}: no {selection} for {dataset}, only:\n{listed}")
    others = sorted({e.layout.extractor for e in own})
    same = [e for e in everything if e.layout.extractor == selection.name]
    elsewhere = sorted({e.layout.dataset for e in same})
    hint = f" There is: {', '.join(others)}." if others else ""
    hint += f" {selection.name} is there for: {', '.join(elsewhere)}." if elsewhere else ""
    hint += did_you_mean(selection.name, others) or did_you_mean(dataset, elsewhere)
    raise CacheError(
        f"{cache}: no embeddings of {selection.name!r} for {dataset!r}.{hint} "
        f"Make them with: probekit extract -e {selection.name} …"
    )


def _refuse_unknown(selection: Selection, named: list[Embeddings]) -> None:
    """Raise if a parameter is none of the extractor's, then or now."""
    known = {key for e in named for key in e.layout.identity.get("params", {})}
    if selection.name in cards.names("extractors"):
        known |= set(cards.extractor(selection.name).parameters)
    for key in sorted(selection.params.keys() - known):
        what = f"parameter of {selection.name}"
        raise CacheError(str(unknown(what, key, {*known, *CHOICES})))


def describe(embeddings: Embeddings) -> str:
    """Say in a few words what sets these embeddings apart: parameters, weights, precision."""
    identity = embeddings.layout.identity
    words = [f"{k}={v}" for k, v in identity.get("params", {}).items()]
    words += [f"{role} {text[:23]}" for role, text in identity.get("weights", {}).items()]
    words += [identity[k] for k in ("precision",) if k in identity]
    return ", ".join(words) or "imported"


def fits(embeddings: Embeddings, selection: Selection) -> bool:
    """Tell whether embeddings have the fingerprint and the parameters that a user means.

    Parameters
    ----------
    embeddings : Embeddings
        Of the extractor that the user names.
    selection : Selection
        What the user wrote.

    Returns
    -------
    bool
        Parameters that the user does not name may be any.
    """
    settled = embeddings.layout
    params = {k: str(v).lower() for k, v in settled.identity.get("params", {}).items()}
    return settled.fingerprint.startswith(selection.fingerprint) and all(
        params.get(k) == v.lower() for k, v in selection.params.items()
    )
