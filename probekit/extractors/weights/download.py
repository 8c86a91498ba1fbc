"""Download of weights files, resumable and verified.

A file appears under its final name only when it is complete and has the card's size and hash.
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
from probekit.utils.atomic import atomic_write_text
from probekit.utils.locking import folder_lock

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 60.0  # seconds without any bytes
ATTEMPTS = 5  # connections, as long as each of them brings something
REDIRECTS = 10
BLOCK = 1 << 16

Progress = Callable[[int, int | None], None]


class DownloadError(Exception):
    """The download failed; the message says why."""


class ConnectionLostError(DownloadError):
    """The connection failed; resuming may help."""


class PartialDownload:
    """A partly downloaded file beside its final path.

    Parameters
    ----------
    path : pathlib.Path
        The file's final path; nothing is written there.
    url : str
        Its address. Data from another address is discarded.
    has_hash : bool
        Whether its hash is known. If not, only the server can tell whether two halves belong to
        one file, and data without the server's version is discarded.
    """

    def __init__(self, path: Path, url: str, has_hash: bool) -> None:
        self.path = path.with_name(path.name + ".part")
        self.url = url
        self.version = ""
        self._record = path.with_name(path.name + ".part.json")
        same_url = False
        with suppress(OSError, ValueError, KeyError, TypeError):
            record: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
            same_url, self.version = record["url"] == url, str(record["version"])
        if not (same_url and (self.version or has_hash)):
            self.discard()

    def size(self) -> int:
        """Return the number of bytes received so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, version: str) -> None:
        """Discard what was received, and record the server's version of the file."""
        self.discard()
        self.version = version
        atomic_write_text(self._record, json.dumps({"url": self.url, "version": version}))

    def finish(self, path: Path) -> None:
        """Move the complete file to its final path."""
        self.path.replace(path)
        self.discard()

    def discard(self) -> None:
        """Delete what was received."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)
        self.version = ""


def download(partial: PartialDownload, progress: Progress, *, verifiable: bool) -> None:
    """Download a file completely; resume after a lost connection.

    Parameters
    ----------
    partial : PartialDownload
        What was received before; afterwards the complete file.
    progress : callable
        Called with the bytes received and the size of the file, None if the server does not say.
    verifiable : bool
        Whether the caller knows size or hash, and so can tell that the file is complete.

    Raises
    ------
    DownloadError
        If the download fails; what was received stays for the next time.
    OSError
        If the file cannot be written.
    """
    import requests

    with requests.Session() as session:
        for attempt in range(1, ATTEMPTS + 1):
            before = partial.size()
            try:
                _resume(session, partial, progress, verifiable)
                return
            except ConnectionLostError as error:
                received = partial.size()
                if attempt == ATTEMPTS or received <= before:
                    note = f"; {received:,} bytes are saved; the next attempt resumes there"
                    raise DownloadError(f"{error}{note if received else ''}") from error


def _resume(
    session: "requests.Session", partial: PartialDownload, progress: Progress, verifiable: bool
) -> None:
    """Request what is missing, and receive it until the end of the file or of the connection."""
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
            return  # complete already
        if have and (status == 416 or (status == 206 and start != have)):
            partial.discard()  # not a part of the server's file
            return _resume(session, partial, progress, verifiable)
        host = _host(response.url)
        if status not in (200, 206) or start not in (0, have):
            raise DownloadError(f"{host} answered {status} {response.reason or ''}".rstrip())
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(f"{host} sent a web page instead of the file")
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "")
        if total is None and not chunked and not verifiable:
            raise DownloadError(
                f"{host} does not state the file's length, and neither its size nor its hash is "
                "known: completeness cannot be verified"
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
        raise ConnectionLostError(
            f"the connection to {host} ended after {done:,} of {total:,} bytes"
        )


def _version(response: "requests.Response") -> str:
    """Return the server's tag of the content; weak tags do not guarantee the same bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _parse_content_range(response: "requests.Response") -> tuple[int, int | None]:
    """Return the offset of the response in the file, -1 if not stated, and the file's length."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    # Content-Range: bytes 100-199/200, or bytes */200
    header = response.headers.get("Content-Range", "")
    extent, _, total = header.removeprefix("bytes ").partition("/")
    start = extent.partition("-")[0]
    return int(start) if start.isdigit() else -1, int(total) if total.isdigit() else None


def _open(session: "requests.Session", url: str, headers: dict[str, str]) -> "requests.Response":
    """Request an address; follow redirects to http and https only."""
    import requests

    for _ in range(REDIRECTS + 1):
        if urlsplit(url).scheme not in ("http", "https"):
            raise DownloadError(f"address must be http or https, got {url}")
        try:
            response = session.get(
                url,
                headers=headers,
                stream=True,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ConnectionLostError(_reason(error, url)) from error
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise DownloadError(f"more than {REDIRECTS} redirects")


def _blocks(response: "requests.Response") -> Iterator[bytes]:
    """Yield the content without decoding: a gzip'ed file stays gzip'ed."""
    import urllib3

    try:
        yield from response.raw.stream(BLOCK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ConnectionLostError(_reason(error, response.url)) from error


def _reason(error: Exception, url: str) -> str:
    """Describe a network error in a few words."""
    import requests
    import urllib3

    host = _host(url)
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection to {host} within {CONNECT_TIMEOUT:g} s"
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return f"no data from {host} for {READ_TIMEOUT:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {host} is not valid"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy refused the connection to {host}"
    if isinstance(error, requests.ConnectionError):
        return f"no connection to {host}"
    return f"the connection to {host} was lost ({type(error).__name__})"


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


@dataclass(frozen=True)
class Digests:
    """Hashes of a file's content, hexadecimal.

    Attributes
    ----------
    sha256 : str
        SHA-256.
    git_blob : str
        The content's object name in git.
    md5 : str
        MD5, which some publishers state alone.
    """

    sha256: str
    git_blob: str
    md5: str = ""


def compute_digests(path: Path) -> Digests:
    """Compute the hashes of a file in one pass."""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            sha256.update(block)
            blob.update(block)
            md5.update(block)
    return Digests(sha256.hexdigest(), blob.hexdigest(), md5.hexdigest())


def declared_hash(facts: WeightsFile) -> str:
    """Return the hash in a card with its kind; empty if the card has none."""
    if facts.sha256:
        return f"SHA-256 {facts.sha256}"
    if facts.sha256_prefix:
        return f"SHA-256 {facts.sha256_prefix}…"
    if facts.git_blob:
        return f"git blob {facts.git_blob}"
    return f"MD5 {facts.md5}" if facts.md5 else ""


def digest_mismatch(facts: WeightsFile, size: int, digests: Digests | None) -> str:
    """Return what differs between a file and its card; empty if nothing does.

    Only a size or hash that the card has is compared, and hashes only if ``digests`` are known.
    """
    expected = facts.sha256 or facts.sha256_prefix or ""
    if digests and not digests.sha256.startswith(expected.lower()):
        return f"hash must be {declared_hash(facts)} as in the card, got SHA-256 {digests.sha256}"
    if digests and facts.git_blob and digests.git_blob != facts.git_blob:
        return (
            f"hash must be {declared_hash(facts)} as in the card, got git blob {digests.git_blob}"
        )
    if digests and facts.md5 and digests.md5 != facts.md5.lower():
        return f"hash must be {declared_hash(facts)} as in the card, got MD5 {digests.md5}"
    if facts.size is not None and size != facts.size:
        return f"size must be {facts.size:,} bytes as in the card, got {size:,} bytes"
    return ""


def download_instructions(card: ExtractorCard, role: str, facts: WeightsFile, path: Path) -> str:
    """Return what a user can do about a missing weights file that belongs at ``path``."""
    option = card.name if role == "main" else f"{card.name}.{role}"
    alternative = f"--weights {option}=PATH"
    if facts.random:
        alternative += f", or --weights {option}=random:0 for random weights"
    if facts.url is None:
        return f"{facts.missing or 'No public file is known.'} Name your own file: {alternative}."
    size = f"{facts.size:,} bytes" if facts.size else "size unknown"
    digest = declared_hash(facts) or "hash unknown"
    return (
        f"Download it on a machine with network access and copy it:\n  from  {facts.url}\n"
        f"  to    {path}\n  ({size}; {digest})\nor name a file: {alternative}."
    )


def download_weights(
    card: ExtractorCard,
    role: str,
    facts: WeightsFile,
    path: Path,
    progress: Progress | None = None,
) -> Digests:
    """Download a weights file to ``path``, which then has the card's size and hash.

    Parameters
    ----------
    card : ExtractorCard
        The extractor's card.
    role : str
        Name of the weights file, for example ``"main"``.
    facts : WeightsFile
        Its entry in the card.
    path : pathlib.Path
        Destination; folders are created.
    progress : callable, optional
        Called with the bytes received and the size of the file, None if the server does not say.

    Returns
    -------
    Digests
        Hashes of the file.

    Raises
    ------
    WeightsError
        If the file is not public, cannot be downloaded, or is not the card's; says how else to
        get it.
    """
    instructions = download_instructions(card, role, facts, path)
    if facts.url is None:
        raise WeightsError(f"{card.name}: {role} weights not found. {instructions}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(path.parent):
            return _fetch(facts, facts.url, path, progress or (lambda received, total: None))
    except (DownloadError, OSError) as error:
        raise WeightsError(
            f"{card.name}: {role} weights not found on this machine, and the download failed: "
            f"{error}. {instructions}"
        ) from error


def _fetch(facts: WeightsFile, url: str, path: Path, progress: Progress) -> Digests:
    """Download and verify a file and move it into place; keep only what can be resumed."""
    if path.is_file():  # another process was faster
        return _verify(facts, path)
    has_hash = bool(declared_hash(facts))
    partial = PartialDownload(path, url, has_hash)
    for retry in (partial.size() > 0, False):  # an older half may belong to another file
        download(partial, progress, verifiable=has_hash or facts.size is not None)
        try:
            digests = _verify(facts, partial.path)
        except DownloadError:
            partial.discard()
            if not retry:
                raise
        else:
            break
    partial.finish(path)
    return digests


def _verify(facts: WeightsFile, path: Path) -> Digests:
    """Return the hashes of a file, or raise if it is not the card's."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.lstrip()[:1] == b"<":
        raise DownloadError("the server sent a web page instead of the file")
    if not head:
        raise DownloadError("the server sent an empty file")
    digests = compute_digests(path)
    mismatch = digest_mismatch(facts, path.stat().st_size, digests)
    if mismatch:
        raise DownloadError(f"not the file of the card, and deleted: {mismatch}")
    return digests
