"""Weights files: what they are recognised by, how to get them, and getting them.

A file appears under its final name only when it is whole and what its card says.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from probekit.cards import ExtractorCard, WeightsFile
from probekit.errors import WeightsError
from probekit.utils.locking import folder_lock

if TYPE_CHECKING:
    import requests

CONNECT = 10.0  # seconds to wait for a connection
READ = 60.0  # seconds to wait for the next bytes
ATTEMPTS = 5  # a lost connection is taken up again so often, as long as each time something came
REDIRECTS = 10
BLOCK = 1 << 16

Progress = Callable[[int, int | None], None]


class DownloadError(Exception):
    """The file does not come; says why, in words for people."""


class ConnectionLostError(DownloadError):
    """The connection failed; to go on from there may help."""


class PartialDownload:
    """What has come so far of a file.

    Parameters
    ----------
    path : pathlib.Path
        The file's final name; nothing is written there.
    url : str
        Where it comes from. What came from elsewhere is thrown away.
    recognised : bool
        Whether its hash is known. If not, only the server can tell whether two halves are of one
        file, and what has come is thrown away where it did not say of which version it was.
    """

    def __init__(self, path: Path, url: str, recognised: bool) -> None:
        self.path = path.with_name(path.name + ".part")
        self.url = url
        self.version = ""
        self._note = path.with_name(path.name + ".part.json")
        of_this = False
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted: dict[str, Any] = json.loads(self._note.read_text(encoding="utf-8"))
            of_this, self.version = noted["url"] == url, str(noted["version"])
        if not (of_this and (self.version or recognised)):
            self.discard()

    def size(self) -> int:
        """Return how many bytes are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, version: str) -> None:
        """Throw away what is here, and note of which version the next bytes are."""
        self.discard()
        self.version = version
        self._note.write_text(json.dumps({"url": self.url, "version": version}), encoding="utf-8")

    def finish(self, path: Path) -> None:
        """Give the file its final name."""
        self.path.replace(path)
        self.discard()

    def discard(self) -> None:
        """Throw away what is here."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.version = ""


def download(partial: PartialDownload, progress: Progress, *, measured: bool) -> None:
    """Receive a file to its end; go on where a connection was lost.

    Parameters
    ----------
    partial : Partial
        What is here; afterwards the whole file.
    progress : callable
        Called with the bytes that are here and those of the whole file, None where the server does
        not say how many.
    measured : bool
        Whether the caller can tell from size or hash that the file is whole.

    Raises
    ------
    RefusedError
        If the file does not come; what has come stays for the next time.
    OSError
        If it cannot be written.
    """
    import requests

    with requests.Session() as session:
        for attempt in range(1, ATTEMPTS + 1):
            before = partial.size()
            try:
                _resume(session, partial, progress, measured)
                return
            except ConnectionLostError as error:
                kept = partial.size()
                if attempt == ATTEMPTS or kept <= before:
                    note = f"; {kept:,} bytes are kept, the next try goes on from there"
                    raise DownloadError(f"{error}{note if kept else ''}") from error


def _resume(
    session: "requests.Session", partial: PartialDownload, progress: Progress, measured: bool
) -> None:
    """Ask for what is missing, and receive until the end of the file or of the connection."""
    have = partial.size()
    headers = {"Accept-Encoding": "identity", "User-Agent": "probekit"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if partial.version:
            headers["If-Range"] = partial.version
    with closing(_open(session, partial.url, headers)) as response:
        status = response.status_code
        start, total = _parse_content_range(response)
        if have and status == 416 and total == have:
            return  # all of it is here
        if have and (status == 416 or (status == 206 and start != have)):
            partial.discard()  # what is here is no part of what the server has
            return _resume(session, partial, progress, measured)
        host = _host(response.url)
        if status not in (200, 206) or start not in (0, have):
            raise DownloadError(f"{host} answers {status} {response.reason or ''}".rstrip())
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(f"{host} sends a web page instead of the file")
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "")
        if total is None and not chunked and not measured:
            raise DownloadError(
                f"{host} does not say how long the file is, nor is its size or hash "
                "known: one could not tell whether it is whole"
            )
        if start == 0:
            partial.begin(_version(response))
        with partial.path.open("ab") as out:
            done = start
            progress(done, total)
            for block in _blocks(response):
                out.write(block)
                done += len(block)
                progress(done, total)
            out.flush()
            os.fsync(out.fileno())
    if total is not None and done < total:
        raise ConnectionLostError(f"the connection to {host} ended after {done:,} of {total:,} bytes")


def _version(response: "requests.Response") -> str:
    """Return the server's name for this very content; weak tags do not promise the same bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _parse_content_range(response: "requests.Response") -> tuple[int, int | None]:
    """Return where in the file that begins which comes, -1 if unsaid, and the file's length."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    # Content-Range: bytes 100-199/200, or bytes */200
    part, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = part.partition("-")[0]
    return int(start) if start.isdigit() else -1, int(whole) if whole.isdigit() else None


def _open(session: "requests.Session", url: str, headers: dict[str, str]) -> "requests.Response":
    """Ask for an address; follow redirects to http and https only."""
    import requests

    for _ in range(REDIRECTS + 1):
        if urlsplit(url).scheme not in ("http", "https"):
            raise DownloadError(f"{url} is neither an http nor an https address")
        try:
            response = session.get(
                url, headers=headers, stream=True, timeout=(CONNECT, READ), allow_redirects=False
            )
        except requests.RequestException as error:
            raise ConnectionLostError(_reason(error, url)) from error
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise DownloadError(f"more than {REDIRECTS} redirects")


def _blocks(response: "requests.Response") -> Iterator[bytes]:
    """Yield what comes, as it comes: a gzip'ed file stays gzip'ed."""
    import urllib3

    try:
        yield from response.raw.stream(BLOCK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ConnectionLostError(_reason(error, response.url)) from error


def _reason(error: Exception, url: str) -> str:
    """Say in a few words why nothing comes."""
    import requests
    import urllib3

    host = _host(url)
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection to {host} within {CONNECT:g} s"
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return f"nothing came from {host} for {READ:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {host} is not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy on the way to {host} does not let through"
    if isinstance(error, requests.ConnectionError):
        return f"no connection to {host}"
    return f"the connection to {host} was lost ({type(error).__name__})"


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


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


def compute_digests(path: Path) -> Digests:
    """Return the hashes of a file, reading it once."""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            sha256.update(block)
            blob.update(block)
    return Digests(sha256.hexdigest(), blob.hexdigest())


def declared_hash(facts: WeightsFile) -> str:
    """Return the hash that a card states, with its kind; empty where it states none."""
    if facts.sha256:
        return f"SHA-256 {facts.sha256}"
    if facts.sha256_prefix:
        return f"SHA-256 {facts.sha256_prefix}…"
    return f"git blob {facts.git_blob}" if facts.git_blob else ""


def digest_mismatch(facts: WeightsFile, size: int, found: Digests | None) -> str:
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
        return f"its hash is SHA-256 {found.sha256}, the card says {declared_hash(facts)}"
    if found and facts.git_blob and found.git_blob != facts.git_blob:
        return f"its hash is git blob {found.git_blob}, the card says git blob {facts.git_blob}"
    if facts.size is not None and size != facts.size:
        return f"it has {size:,} bytes, the card says {facts.size:,}"
    return ""


def download_instructions(card: ExtractorCard, role: str, facts: WeightsFile, path: Path) -> str:
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
    digest = declared_hash(facts) or "hash not established"
    return (
        f"Get it where there is a network and put it here:\n  from  {facts.url}\n  to    {path}\n"
        f"  ({size}; {digest})\nor name a file: {own}."
    )


def download_weights(
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
    advice = download_instructions(card, role, facts, path)
    if facts.url is None:
        raise WeightsError(f"{card.name}: no {role} weights. {advice}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(path.parent):
            return _fetch(facts, facts.url, path, progress or (lambda done, total: None))
    except (DownloadError, OSError) as error:
        raise WeightsError(
            f"{card.name}: the {role} weights are not on this machine and could not be downloaded: "
            f"{error}. {advice}"
        ) from error


def _fetch(facts: WeightsFile, url: str, path: Path, progress: Progress) -> Digests:
    """Receive, check and move into place; what is wrong is thrown away, what is short is kept."""
    if path.is_file():  # another process was quicker
        return _checked(facts, path)
    known = bool(declared_hash(facts))
    partial = PartialDownload(path, url, known)
    for again in (partial.size() > 0, False):  # an older half may be of another file
        download(partial, progress, measured=known or facts.size is not None)
        try:
            found = _checked(facts, partial.path)
        except DownloadError:
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
        raise DownloadError("a web page came instead of the file")
    if not head:
        raise DownloadError("an empty file came")
    found = compute_digests(path)
    what = digest_mismatch(facts, path.stat().st_size, found)
    if what:
        raise DownloadError(f"what came is another file, and was not kept: {what}")
    return found
