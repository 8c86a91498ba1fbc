"""Where an extractor's weights come from: the official file, a path, or a seed.

Random weights are never used unless they are asked for, and are recorded under their seed. Reading
the files is the matter of :mod:`probekit.extractors.states`; nothing here needs torch.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from probekit.cards import ExtractorCard, Params, WeightsFile
from probekit.errors import ProbekitError, WeightsError

INITIALIZATION = 1  # version of how a seed becomes weights; a change of it changes fingerprints


@dataclass(frozen=True)
class Source:
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


def home() -> Path:
    """Return the folder of downloaded weights: ``PROBEKIT_HOME``, else ``~/.cache/probekit``."""
    given = os.environ.get("PROBEKIT_HOME")
    return Path(given) if given else Path.home() / ".cache" / "probekit"


def local_path(card: ExtractorCard, facts: WeightsFile) -> Path:
    """Return where a weights file of a card lies, or would lie, on this machine."""
    return home() / "weights" / card.name / facts.file


def parse_overrides(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
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


def needed(
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


def resolve(card: ExtractorCard, role: str, facts: WeightsFile, override: str | None) -> Source:
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
            raise WeightsError(f"--weights {card.name}={override}: write random:SEED, "
                               "for example random:0")
        if not facts.random:
            raise WeightsError(f"{card.name}: its {role} weights cannot be random")
        return Source(seed=int(text))
    if override is not None:
        path = Path(override)
        if not path.is_file():
            raise WeightsError(f"--weights {card.name}={override}: no such file")
        return Source(path=path, sha256=sha256(path))
    path = local_path(card, facts)
    if not path.is_file():
        _download(card, role, facts, path)
    digest = sha256(path)
    _check_hash(card, facts, path, digest)
    return Source(path=path, sha256=digest)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git_blob(path: Path) -> str:
    """Return the name that git gives to a file's content."""
    sha = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def _check_hash(card: ExtractorCard, facts: WeightsFile, path: Path, digest: str) -> None:
    """Refuse a file whose hash is not the card's."""
    expected = facts.sha256 or facts.sha256_prefix or ""
    found = digest
    if facts.git_blob:
        expected, found = facts.git_blob, _git_blob(path)
    if not found.startswith(expected):
        raise WeightsError(
            f"{path}: its hash is {found}, the card of {card.name} says {expected}. Delete the "
            f"file and try again, or name your own file: --weights {card.name}=PATH"
        )


def _how_to_get(card: ExtractorCard, role: str, facts: WeightsFile, path: Path) -> str:
    """Say what a user can do about weights that are not here."""
    option = card.name if role == "main" else f"{card.name}.{role}"
    own = f"--weights {option}=PATH"
    if facts.random:
        own += f", or --weights {option}=random:0 for random weights"
    if facts.url is None:
        return f"{facts.missing or 'No public file is known.'} Give your own: {own}."
    size = f"{facts.size:,} bytes" if facts.size else "size not established"
    digest = facts.sha256 or facts.sha256_prefix or facts.git_blob or "not established"
    return (
        f"Get it where there is a network and put it here:\n  from  {facts.url}\n  to    {path}\n"
        f"  ({size}; hash {digest})\nor name a file: {own}."
    )


def _download(card: ExtractorCard, role: str, facts: WeightsFile, path: Path) -> None:
    """Fetch a file under a temporary name, check its hash, and move it into place."""
    help_text = _how_to_get(card, role, facts, path)
    if facts.url is None:
        raise WeightsError(f"{card.name}: no {role} weights. {help_text}")
    import pooch
    import requests

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        pooch.retrieve(facts.url, known_hash=None, fname=partial.name, path=path.parent)
    except (requests.RequestException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:160]
        raise WeightsError(
            f"{card.name}: the {role} weights are not on this machine and could not be downloaded "
            f"({type(error).__name__}: {reason}). {help_text}"
        ) from error
    try:
        _check_hash(card, facts, partial, sha256(partial))
    except WeightsError:
        partial.unlink()
        raise
    partial.rename(path)
