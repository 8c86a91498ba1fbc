"""What a user writes after ``-e``: ``NAME[@FINGERPRINT][:key=value,…]``, or ``hear:MODULE``.

``runs/ID`` is a student that was trained here, short for ``student-ID``. Several embeddings side by
side are written ``A+B``.
"""

import re
from dataclasses import dataclass, field

from probekit.errors import ProbekitError

CACHE_KEYS = ("stream", "pool")  # keys that choose among what a cache holds, not what is computed
HEAR = "hear"  # the extractor that stands for all modules of the HEAR API
STUDENT_PREFIX = "student-"  # how names of trained students begin
_RUNS = "runs/"  # what may be written instead
KEYLESS = {HEAR: "module"}  # names whose first parameter is written without its key
# a plus sign joins embeddings, but for those between poolings: vggish:pool=mean+std+melstats
_JOIN = re.compile(r"\+(?!(?:mean|std|max)(?:[+,]|$))")


@dataclass(frozen=True)
class EmbeddingSelector:
    """One embedding, as a user names it.

    Attributes
    ----------
    name : str
        The extractor's name.
    fingerprint : str
        The first digits of the cache's fingerprint; empty for "the only one there is".
    params : dict of str to str
        Parameters of the extractor, as written.
    stream : str
        Which of its streams; empty for the default one.
    pool : tuple of str
        How frames are pooled; several are put side by side.
    """

    name: str
    fingerprint: str = ""
    params: dict[str, str] = field(default_factory=dict)
    stream: str = ""
    pool: tuple[str, ...] = ("mean",)

    def __str__(self) -> str:
        keys = dict(self.params)
        if self.stream:
            keys["stream"] = self.stream
        if self.pool != ("mean",):
            keys["pool"] = "+".join(self.pool)
        first = keys.pop(KEYLESS.get(self.name, ""), "")
        words = [first] * bool(first) + [f"{k}={v}" for k, v in keys.items()]
        text = self.name + (f"@{self.fingerprint}" if self.fingerprint else "")
        return text + (":" + ",".join(words) if words else "")


def parse_selector(text: str) -> EmbeddingSelector:
    """Read what a user wrote after ``-e``.

    Parameters
    ----------
    text : str
        For example ``vggish``, ``vggish:stream=prerelu``, ``melstats@1a2b3c4d``,
        ``openl3:content=music,size=512,pool=mean+max``, ``hear:some.module,stream=scene`` or
        ``runs/1a2b3c4d5e6f``.

    Returns
    -------
    Selection
        Its parts.

    Raises
    ------
    ProbekitError
        If the text is not of that form.
    """
    head, colon, tail = text.partition(":")
    name, _, fingerprint = head.partition("@")
    if name.startswith(_RUNS):
        name = STUDENT_PREFIX + name.removeprefix(_RUNS)
    pieces = tail.split(",") if colon else []
    if pieces and name in KEYLESS and "=" not in pieces[0]:
        pieces[0] = f"{KEYLESS[name]}={pieces[0]}"
    pairs = [piece.partition("=") for piece in pieces]
    bad = [key for key, equals, value in pairs if not (key and equals and value)]
    if not name or bad:
        raise ProbekitError(
            f"extractor {text!r}: write NAME, NAME:key=value,key=value or NAME@FINGERPRINT"
        )
    params = {key.strip(): value.strip() for key, _, value in pairs}
    stream = params.pop("stream", "")
    pool = tuple(params.pop("pool", "mean").split("+"))
    return EmbeddingSelector(name, fingerprint, params, stream, pool)


def display_name(name: str) -> str:
    """Return what is written for an extractor: ``runs/ID`` for a trained student.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    str
        What :func:`parse` reads as that name.
    """
    return _RUNS + name.removeprefix(STUDENT_PREFIX) if name.startswith(STUDENT_PREFIX) else name


def parse_selectors(text: str) -> tuple[EmbeddingSelector, ...]:
    """Read what a user wrote after ``-e`` where several embeddings may stand side by side.

    Parameters
    ----------
    text : str
        As for :func:`parse`, or several of these joined by ``+``: ``vggish+melstats``,
        ``vggish:pool=mean+std+melstats``.

    Returns
    -------
    tuple of Selection
        One for each embedding, in the order given.

    Raises
    ------
    ProbekitError
        If one is not of that form, or is there twice.
    """
    found = tuple(parse_selector(piece.strip()) for piece in _JOIN.split(text))
    if len({str(one) for one in found}) < len(found):
        raise ProbekitError(f"-e {text}: the same embedding twice")
    return found
