"""Whether weights that a user names belong to one of the extractors that are asked for."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.cards import ExtractorCard, Params, WeightsFile
from probekit.cards.selector import HEAR, STUDENT, EmbeddingSelector, display_name, parse
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors.weights import download
from probekit.extractors.weights.download import Digests, Progress
from probekit.utils.atomic import atomic_write_text
from probekit.utils.suggest import did_you_mean

INITIALIZATION = 1  # version of how a seed becomes weights; a change of it changes fingerprints
SETTLED = 2.0  # seconds: a file changed later than that might change again within its time stamp


@dataclass(frozen=True)
class WeightsSource:
    """Where one set of weights comes from.

    Attributes
    ----------
    path : pathlib.Path or None
        The file; None for random weights.
    seed : int or None
        The seed; None for a file.
    sha256 : str
        The file's hash; empty for random weights.
    """

    path: Path | None = None
    seed: int | None = None
    sha256: str = ""

    @property
    def identity(self) -> str:
        """What the fingerprint covers: the file's hash, or the seed and how it is used."""
        if self.seed is not None:
            return f"random:{self.seed} (initialization {INITIALIZATION})"
        return f"sha256:{self.sha256}"


def weights_dir() -> Path:
    """Return the folder of downloaded weights: ``PROBEKIT_HOME``, else ``~/.cache/probekit``."""
    given = os.environ.get("PROBEKIT_HOME")
    return Path(given) if given else Path.home() / ".cache" / "probekit"


def local_path(card: ExtractorCard, facts: WeightsFile) -> Path:
    """Return where a weights file of a card lies, or would lie, on this machine."""
    return weights_dir() / "weights" / card.name / facts.file


def parse_overrides(texts: Sequence[str]) -> dict[str, str]:
    """Read ``--weights`` options.

    Parameters
    ----------
    texts : sequence of str
        Each ``EXTRACTOR=PATH``, ``EXTRACTOR=random:SEED`` or ``EXTRACTOR.FILE=…``, where FILE is
        a name under ``weights`` in the card (``main`` by default).

    Returns
    -------
    dict of str to str
        ``extractor.file`` to path or ``random:SEED``.

    Raises
    ------
    ProbekitError
        If one has no ``=``.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise ProbekitError(f"--weights {text!r}: write NAME=PATH or NAME=random:SEED")
        found[key if "." in key else f"{key}.main"] = value
    return found


def required_weights(
    card: ExtractorCard, params: Params, streams: tuple[str, ...]
) -> dict[str, WeightsFile]:
    """Return the weights files that these parameters and streams need.

    Parameters
    ----------
    card : ExtractorCard
        The extractor's facts.
    params : dict
        Values of the card's parameters.
    streams : tuple of str
        Streams that are wanted.

    Returns
    -------
    dict of str to WeightsFile
        Role (``"main"`` …, the part of the card's key before ``/``) to the file's facts.
    """
    found: dict[str, WeightsFile] = {}
    for key, facts in card.weights.items():
        wanted = facts.streams is None or bool(set(facts.streams) & set(streams))
        if wanted and all(params[name] == value for name, value in facts.when.items()):
            found[key.partition("/")[0]] = facts
    return found


def resolve_weights(
    card: ExtractorCard,
    role: str,
    facts: WeightsFile,
    override: str | None = None,
    progress: Progress | None = None,
) -> WeightsSource:
    """Find the weights for one role, downloading the official file where it is not here yet.

    Parameters
    ----------
    card : ExtractorCard
        The extractor's facts.
    role : str
        Which of its files, for example ``"main"``.
    facts : WeightsFile
        Where it is published.
    override : str, optional
        A path or ``random:SEED``, from the user.
    progress : callable, optional
        Told of a download: bytes that are here, bytes of the whole file or None.

    Returns
    -------
    Source
        A file that exists and has the hash that the card names, or a seed.

    Raises
    ------
    WeightsError
        If there is no such file, it cannot be downloaded, or its hash is another one.
    """
    if override is not None and override.startswith("random"):
        _, _, text = override.partition(":")
        if not text.isdigit():
            raise WeightsError(
                f"--weights {card.name}={override}: write random:SEED, for example random:0"
            )
        if not facts.random:
            raise WeightsError(f"{card.name}: its {role} weights cannot be random")
        return WeightsSource(seed=int(text))
    if override is not None:
        path = Path(override)
        if not path.is_file():
            raise WeightsError(f"--weights {card.name}={override}: no such file")
        return WeightsSource(path=path, sha256=file_digests(path).sha256)
    path = local_path(card, facts)
    if not path.is_file():
        return WeightsSource(
            path=path, sha256=download.download_weights(card, role, facts, path, progress).sha256
        )
    found = file_digests(path)
    wrong = download.digest_mismatch(facts, path.stat().st_size, found)
    if wrong:
        raise WeightsError(
            f"{path}: {wrong}. Delete the file and try again, or name your own file: "
            f"--weights {card.name if role == 'main' else f'{card.name}.{role}'}=PATH"
        )
    return WeightsSource(path=path, sha256=found.sha256)


def file_digests(path: Path, *, refresh: bool = False) -> Digests:
    """Return the hashes of a file; one that has not changed since the last time is not read again.

    What is known is kept in ``hashes.json`` under :func:`weights_dir`, by path, size and time of change.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    again : bool
        Read it in any case.

    Returns
    -------
    Digests
        SHA-256, and git's name of the content.
    """
    known = None if refresh else cached_digests(path)
    if known is None:
        before = path.stat()
        known = download.compute_digests(path)
        _remember(path, before, known)
    return known


def cached_digests(path: Path) -> Digests | None:
    """Return the hashes of a file as far as they are known without reading it."""
    entry = _memory().get(str(path.resolve()))
    with suppress(KeyError, TypeError):
        if entry is not None and _stat_key(path.stat()) == (entry["size"], entry["mtime_ns"]):
            return Digests(entry["sha256"], entry["git_blob"])
    return None


def _remember(path: Path, before: os.stat_result, found: Digests) -> None:
    """Keep the hashes of a file that did not change meanwhile; without a place for it, go on."""
    size, mtime_ns = _stat_key(before)
    if _stat_key(path.stat()) != (size, mtime_ns) or time.time() - mtime_ns / 1e9 < SETTLED:
        return
    kept = {name: entry for name, entry in _memory().items() if Path(name).is_file()}
    kept[str(path.resolve())] = {"size": size, "mtime_ns": mtime_ns, **asdict(found)}
    place = weights_dir() / "hashes.json"
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(place, json.dumps(kept, indent=1))


def _memory() -> dict[str, Any]:
    """Return what is known of files; nothing where that is damaged."""
    try:
        content = json.loads((weights_dir() / "hashes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stat_key(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


_MAIN = "main"  # the file that is meant where none is named


def validate_overrides(
    texts: Sequence[str], extractors: Sequence[str], option: str = "-e"
) -> dict[str, str]:
    """Read ``--weights`` options, and refuse one that none of these extractors can use.

    Parameters
    ----------
    texts : sequence of str
        As :func:`probekit.extractors.weights.source.parse_overrides` takes them.
    extractors : sequence of str
        What was asked for, each as after ``-e``.
    option : str
        Where the extractors were named, for messages.

    Returns
    -------
    dict of str to str
        ``extractor.file`` to path or ``random:SEED``.

    Raises
    ------
    ProbekitError
        If one has no ``=``, names another extractor, or a file that its extractor does not have.
    """
    found = parse_overrides(texts)
    if not texts:
        return found
    files = {name: own for text in extractors for name, own in _files(parse(text)).items()}
    for text in texts:
        key = text.partition("=")[0]
        name, file = _split(key)
        if name == HEAR and any(own.startswith(HEAR) for own in files):
            continue  # the module is missing: said where it is loaded, with its name
        if not extractors:
            raise ProbekitError(f"--weights {name}: for the extractor of {option}; none is named")
        if name not in files:
            raise ProbekitError(
                f"--weights {name}: no extractor of that name among {option} "
                f"{', '.join(extractors)}.{did_you_mean(name, files)}"
            )
        if not files[name]:
            raise ProbekitError(f"--weights {name}: {name} takes no weights file. Leave it out")
        if file not in files[name]:
            raise ProbekitError(
                f"--weights {key}: {name} has no weights file {file!r}."
                f"{did_you_mean(file, files[name])} It has {', '.join(sorted(files[name]))}"
            )
    return found


def _files(one: EmbeddingSelector) -> dict[str, set[str]]:
    """Return how an extractor may be called here, with the weights files that can be named."""
    if one.name == HEAR:
        return {f"{HEAR}:{one.params.get('module', '')}": {_MAIN}}
    if one.name.startswith(STUDENT):  # it has its own, which are part of what it is
        return {one.name: set(), display_name(one.name): set()}
    return {
        one.name: {key.partition("/")[0] for key in cards.load_extractor_card(one.name).weights}
    }


def _split(key: str) -> tuple[str, str]:
    """Return the extractor and the file of an option; the dots of a module's name are its own."""
    if key.startswith(f"{HEAR}:"):
        return key.removesuffix(f".{_MAIN}"), _MAIN
    name, _, file = key.partition(".")
    return name, file or _MAIN
