"""Weights files of all extractors: which are on this machine, and downloading the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cards import ExtractorCard, WeightsFile
from probekit.cards.selector import parse_selector, select_layers
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.weights import download, source
from probekit.extractors.weights.download import Progress
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True)
class WeightsStatus:
    """One weights file of a card on this machine.

    Attributes
    ----------
    extractor : str
        The card's name.
    role : str
        The file's key in the card: ``main``, ``pca``, ``main/linear-env`` …
    path : pathlib.Path
        Its path, whether it exists or not.
    present : bool
        Whether it exists.
    size : int or None
        Bytes: of the file if present, else as in the card.
    state : {"absent", "not public", "right", "wrong", "not checked", "no hash known"}
        The file compared with the card's size and hash; ``not checked`` if it has not been read
        since it last changed.
    fault : str
        What differs, if the state is ``wrong``.
    url : str or None
        Where it is published.
    """

    extractor: str
    role: str
    path: Path
    present: bool
    size: int | None
    state: str
    fault: str
    url: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as ``--json`` shows them."""
        return {"here" if key == "present" else key: value for key, value in vars(self).items()}


@dataclass(frozen=True)
class FetchResult:
    """Outcome of fetching one weights file.

    Attributes
    ----------
    extractor, role : str
        Card and key of the file.
    path : pathlib.Path
        Its path.
    state : {"fetched", "was here", "failed", "not public"}
        The outcome.
    sha256 : str
        Its hash; empty if it is not present.
    note : str
        If it is not present: why, and what to do.
    """

    extractor: str
    role: str
    path: Path
    state: str
    sha256: str = ""
    note: str = ""


def list_weights(
    names: Sequence[str] | None = None, *, verify: bool = False
) -> list[WeightsStatus]:
    """List the weights files of some or all extractors, in the order of their cards.

    With ``verify`` every present file is read; otherwise its hash is compared only if it is known
    from an earlier time and the file has not changed since.
    """
    statuses = []
    for name in cards.card_paths("extractors") if names is None else names:
        card = cards.load_extractor_card(name)
        statuses += [_status(card, role, facts, verify) for role, facts in card.weights.items()]
    return statuses


def _status(card: ExtractorCard, role: str, facts: WeightsFile, verify: bool) -> WeightsStatus:
    path = source.local_path(card, facts)
    present, size, state, fault = path.is_file(), facts.size, "absent", ""
    if present:
        size = path.stat().st_size
        digests = source.file_digests(path, refresh=True) if verify else source.cached_digests(path)
        fault = download.digest_mismatch(facts, size, digests)
        if fault:
            state = "wrong"
        elif not download.declared_hash(facts):
            state = "no hash known"
        else:
            state = "right" if digests else "not checked"
    elif facts.url is None:
        state = "not public"
    return WeightsStatus(card.name, role, path, present, size, state, fault, facts.url)


def select_files(text: str) -> list[tuple[ExtractorCard, str, WeightsFile]]:
    """Return the weights files that an argument of ``probekit weights get`` selects.

    Parameters
    ----------
    text : str
        ``NAME`` for all files of an extractor; ``NAME:parameter=value,…`` for those that ``-e``
        with the same text needs, of all streams unless one is named.

    Returns
    -------
    list of tuple
        Card, key of the file in the card, and its facts.

    Raises
    ------
    ProbekitError
        If a name or value is not known.
    """
    selector = parse_selector(text)
    card = cards.load_extractor_card(selector.name)
    if not (selector.params or selector.stream or selector.layer):
        return [(card, role, facts) for role, facts in card.weights.items()]
    if selector.stream and selector.stream not in card.streams:
        raise unknown_name_error(f"stream of {card.name}", selector.stream, card.streams)
    streams = (selector.stream,) if selector.stream else tuple(card.streams)
    if selector.layer:
        depths = {name: stream.layer for name, stream in card.streams.items()}
        streams = select_layers(card.name, depths, selector.layer)
    params = load.parse_parameters(card, selector.params)
    required = source.required_weights(card, params, streams).values()
    return [(card, role, facts) for role, facts in card.weights.items() if facts in required]


def fetch(texts: Sequence[str], begin: Callable[[str], Progress]) -> list[FetchResult]:
    """Download missing weights files, and verify present ones.

    Parameters
    ----------
    texts : sequence of str
        As for :func:`select_files`; nothing is downloaded if one of them is not known.
    begin : callable
        Called with ``extractor/role`` before each file; returns the callback for its progress.

    Returns
    -------
    list of FetchResult
        One for each file, without repetitions.
    """
    files = {
        (card.name, key): (card, facts) for text in texts for card, key, facts in select_files(text)
    }
    results = []
    for (name, key), (card, facts) in files.items():
        path, role = source.local_path(card, facts), key.partition("/")[0]
        was_present = path.is_file()
        state, sha256, note = "was here" if was_present else "fetched", "", ""
        try:
            weights = source.resolve_weights(card, role, facts, None, begin(f"{name}/{key}"))
            sha256 = weights.sha256
        except WeightsError as error:
            state = "failed" if was_present or facts.url else "not public"
            note = str(error)
        results.append(FetchResult(name, key, path, state, sha256, note))
    return results
