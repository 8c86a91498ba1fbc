"""A file over HTTP that is kept as far as it came, and goes on from there.

What has come lies beside the final name as ``NAME.part``, and in ``NAME.part.json`` the address and
the version that it is part of. Nothing here knows what the file is for.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests

CONNECT = 10.0  # seconds to wait for a connection
READ = 60.0  # seconds to wait for the next bytes
ATTEMPTS = 5  # a lost connection is taken up again so often, as long as each time something came
REDIRECTS = 10
BLOCK = 1 << 16

Progress = Callable[[int, int | None], None]


class RefusedError(Exception):
    """The file does not come; says why, in words for people."""


class BrokenError(RefusedError):
    """The connection failed; to go on from there may help."""


class Partial:
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


def receive(partial: Partial, progress: Progress, *, measured: bool) -> None:
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
                _go_on(session, partial, progress, measured)
                return
            except BrokenError as error:
                kept = partial.size()
                if attempt == ATTEMPTS or kept <= before:
                    note = f"; {kept:,} bytes are kept, the next try goes on from there"
                    raise RefusedError(f"{error}{note if kept else ''}") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process holds a folder; do not wait where the system has no locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have none
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _go_on(
    session: "requests.Session", partial: Partial, progress: Progress, measured: bool
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
        start, total = _span(response)
        if have and status == 416 and total == have:
            return  # all of it is here
        if have and (status == 416 or (status == 206 and start != have)):
            partial.discard()  # what is here is no part of what the server has
            return _go_on(session, partial, progress, measured)
        host = _host(response.url)
        if status not in (200, 206) or start not in (0, have):
            raise RefusedError(f"{host} answers {status} {response.reason or ''}".rstrip())
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise RefusedError(f"{host} sends a web page instead of the file")
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "")
        if total is None and not chunked and not measured:
            raise RefusedError(
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
        raise BrokenError(f"the connection to {host} ended after {done:,} of {total:,} bytes")


def _version(response: "requests.Response") -> str:
    """Return the server's name for this very content; weak tags do not promise the same bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _span(response: "requests.Response") -> tuple[int, int | None]:
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
            raise RefusedError(f"{url} is neither an http nor an https address")
        try:
            response = session.get(
                url, headers=headers, stream=True, timeout=(CONNECT, READ), allow_redirects=False
            )
        except requests.RequestException as error:
            raise BrokenError(_reason(error, url)) from error
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise RefusedError(f"more than {REDIRECTS} redirects")


def _blocks(response: "requests.Response") -> Iterator[bytes]:
    """Yield what comes, as it comes: a gzip'ed file stays gzip'ed."""
    import urllib3

    try:
        yield from response.raw.stream(BLOCK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise BrokenError(_reason(error, response.url)) from error


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
