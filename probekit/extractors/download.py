"""Weights files: what they are recognised by, how to get them, and getting them.

A file appears under its final name only when it is whole and what its card says.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from probekit.cards import ExtractorCard, WeightsFile
from probekit.errors import WeightsError
from probekit.extractors import transfer
from probekit.extractors.transfer import Partial, Progress, RefusedError


@dataclass(frozen=True)
class Digests:
    """What a file's content is recognised by, hexadecimal.

    Attributes
    ----------
    sha256 : str
        SHA-256 of the content.
    git_blob : str
        The name that git gives to the content.
    """

    sha256: str
    git_blob: str


def digests(path: Path) -> Digests:
    """Return the hashes of a file, reading it once."""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            sha256.update(block)
            blob.update(block)
    return Digests(sha256.hexdigest(), blob.hexdigest())


def stated_hash(facts: WeightsFile) -> str:
    """Return the hash that a card states, with its kind; empty where it states none."""
    if facts.sha256:
        return f"SHA-256 {facts.sha256}"
    if facts.sha256_prefix:
        return f"SHA-256 {facts.sha256_prefix}…"
    return f"git blob {facts.git_blob}" if facts.git_blob else ""


def fault(facts: WeightsFile, size: int, found: Digests | None) -> str:
    """Compare a file with its card.

    Parameters
    ----------
    facts : WeightsFile
        What the card says; a size or hash that it does not state is not compared.
    size : int
        The file's size in bytes.
    found : Digests or None
        The file's hashes; not compared where they are not known.

    Returns
    -------
    str
        What differs; empty where nothing does.
    """
    expected = facts.sha256 or facts.sha256_prefix or ""
    if found and not found.sha256.startswith(expected.lower()):
        return f"its hash is SHA-256 {found.sha256}, the card says {stated_hash(facts)}"
    if found and facts.git_blob and found.git_blob != facts.git_blob:
        return f"its hash is git blob {found.git_blob}, the card says git blob {facts.git_blob}"
    if facts.size is not None and size != facts.size:
        return f"it has {size:,} bytes, the card says {facts.size:,}"
    return ""


def how_to_get(card: ExtractorCard, role: str, facts: WeightsFile, path: Path) -> str:
    """Say what a user can do about weights that are not here.

    Parameters
    ----------
    card : ExtractorCard
        The extractor's facts.
    role : str
        Which of its files, for example ``"main"``.
    facts : WeightsFile
        Where the file is published.
    path : pathlib.Path
        Where it belongs.

    Returns
    -------
    str
        Address, size, hash and place of the file, and what can be used instead.
    """
    option = card.name if role == "main" else f"{card.name}.{role}"
    own = f"--weights {option}=PATH"
    if facts.random:
        own += f", or --weights {option}=random:0 for random weights"
    if facts.url is None:
        return f"{facts.missing or 'No public file is known.'} Give your own: {own}."
    size = f"{facts.size:,} bytes" if facts.size else "size not established"
    digest = stated_hash(facts) or "hash not established"
    return (
        f"Get it where there is a network and put it here:\n  from  {facts.url}\n  to    {path}\n"
        f"  ({size}; {digest})\nor name a file: {own}."
    )


def obtain(
    card: ExtractorCard,
    role: str,
    facts: WeightsFile,
    path: Path,
    progress: Progress | None = None,
) -> Digests:
    """Download a weights file, or say how else to get it.

    Parameters
    ----------
    card : ExtractorCard
        The extractor's facts.
    role : str
        Which of its files, for example ``"main"``.
    facts : WeightsFile
        Where the file is published, and how it is recognised.
    path : pathlib.Path
        Where it shall lie; folders are made.
    progress : callable, optional
        Called with the bytes that are here and those of the whole file, None where the server does
        not say how many.

    Returns
    -------
    Digests
        Of the file, which now lies at ``path`` and is what the card says.

    Raises
    ------
    WeightsError
        If the file is not public, cannot be reached, or is another one than the card says.
    """
    advice = how_to_get(card, role, facts, path)
    if facts.url is None:
        raise WeightsError(f"{card.name}: no {role} weights. {advice}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with transfer.alone(path.parent):
            return _fetch(facts, facts.url, path, progress or (lambda done, total: None))
    except (RefusedError, OSError) as error:
        raise WeightsError(
            f"{card.name}: the {role} weights are not on this machine and could not be downloaded: "
            f"{error}. {advice}"
        ) from error


def _fetch(facts: WeightsFile, url: str, path: Path, progress: Progress) -> Digests:
    """Receive, check and move into place; what is wrong is thrown away, what is short is kept."""
    if path.is_file():  # another process was quicker
        return _checked(facts, path)
    known = bool(stated_hash(facts))
    partial = Partial(path, url, known)
    for again in (partial.size() > 0, False):  # an older half may be of another file
        transfer.receive(partial, progress, measured=known or facts.size is not None)
        try:
            found = _checked(facts, partial.path)
        except RefusedError:
            partial.discard()
            if not again:
                raise
        else:
            break
    partial.finish(path)
    return found


def _checked(facts: WeightsFile, path: Path) -> Digests:
    """Return the hashes of a file, if it can be what the card says."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.lstrip()[:1] == b"<":
        raise RefusedError("a web page came instead of the file")
    if not head:
        raise RefusedError("an empty file came")
    found = digests(path)
    what = fault(facts, path.stat().st_size, found)
    if what:
        raise RefusedError(f"what came is another file, and was not kept: {what}")
    return found
