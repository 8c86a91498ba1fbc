"""Which weights files there are, which of them are on this machine, and fetching them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from probekit import cards
from probekit.cards import ExtractorCard, WeightsFile
from probekit.cards.selector import parse
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.weights import download, source
from probekit.extractors.weights.download import Progress
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True)
class WeightsStatus:
    """One weights file of a card, as it stands on this machine.

    Attributes
    ----------
    extractor : str
        The card's name.
    role : str
        The file's key in the card: ``main``, ``pca``, ``main/linear-env`` …
    path : pathlib.Path
        Where it lies, or would lie.
    here : bool
        Whether it lies there.
    size : int or None
        Bytes: of the file where it is here, else what the card says.
    state : {"absent", "not public", "right", "wrong", "not checked", "no hash known"}
        Of the file here, compared with size and hash of the card; ``not checked`` where it has not
        been read since it last changed.
    fault : str
        What differs, where it is wrong.
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


@dataclass(frozen=True)
class FetchResult:
    """What came of fetching one weights file.

    Attributes
    ----------
    extractor, role : str
        Which file.
    path : pathlib.Path
        Where it lies.
    state : {"fetched", "was here", "failed", "not public"}
        What came of it.
    sha256 : str
        Its hash; empty where it is not here.
    note : str
        Where it is not here: why, and what to do.
    """

    extractor: str
    role: str
    path: Path
    state: str
    sha256: str = ""
    note: str = ""


def list_weights(names: Sequence[str] | None = None, *, verify: bool = False) -> list[WeightsStatus]:
    """List the weights files of cards.

    Parameters
    ----------
    names : sequence of str, optional
        Extractors; all that there are if not given.
    read : bool
        Read every file that is here and compare its hash; otherwise a hash is compared only where
        it is known from an earlier time and the file has not changed since.

    Returns
    -------
    list of Held
        In the order of the cards.
    """
    found = []
    for name in cards.card_paths("extractors") if names is None else names:
        card = cards.load_extractor_card(name)
        found += [_held(card, role, facts, verify) for role, facts in card.weights.items()]
    return found


def _held(card: ExtractorCard, role: str, facts: WeightsFile, read: bool) -> WeightsStatus:
    path = source.local_path(card, facts)
    here, size, state, fault = path.is_file(), facts.size, "absent", ""
    if here:
        size = path.stat().st_size
        known = source.file_digests(path, refresh=True) if read else source.cached_digests(path)
        fault = download.digest_mismatch(facts, size, known)
        if fault:
            state = "wrong"
        elif not download.declared_hash(facts):
            state = "no hash known"
        else:
            state = "right" if known else "not checked"
    elif facts.url is None:
        state = "not public"
    return WeightsStatus(card.name, role, path, here, size, state, fault, facts.url)


def select_files(text: str) -> list[tuple[ExtractorCard, str, WeightsFile]]:
    """Return the weights files that belong to what a user wrote.

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
    selection = parse(text)
    card = cards.load_extractor_card(selection.name)
    if not (selection.params or selection.stream):
        return [(card, role, facts) for role, facts in card.weights.items()]
    if selection.stream and selection.stream not in card.streams:
        raise unknown_name_error(f"stream of {card.name}", selection.stream, card.streams)
    streams = (selection.stream,) if selection.stream else tuple(card.streams)
    wanted = source.required_weights(card, load.parse_parameters(card, selection.params), streams)
    return [(card, role, facts) for role, facts in card.weights.items() if facts in wanted.values()]


def fetch(texts: Sequence[str], begin: Callable[[str], Progress]) -> list[FetchResult]:
    """Download weights files that are not here yet, and check those that are.

    Parameters
    ----------
    texts : sequence of str
        As for :func:`files`; nothing is downloaded where one of them is not known.
    begin : callable
        Called with ``extractor/role`` before each file; returns what is told of its progress.

    Returns
    -------
    list of Fetched
        One for each file, each once.
    """
    wanted = {
        (card.name, role): (card, facts) for text in texts for card, role, facts in select_files(text)
    }
    found = []
    for (name, key), (card, facts) in wanted.items():
        path, role = source.local_path(card, facts), key.partition("/")[0]
        was_here = path.is_file()
        state, sha256, note = "was here" if was_here else "fetched", "", ""
        try:
            sha256 = source.resolve_weights(card, role, facts, None, begin(f"{name}/{key}")).sha256
        except WeightsError as error:
            state = "failed" if was_here or facts.url else "not public"
            note = str(error)
        found.append(FetchResult(name, key, path, state, sha256, note))
    return found
