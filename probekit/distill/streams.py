"""Which stream of a teacher is read, and how to extract one that is not there."""

from dataclasses import dataclass

from probekit.cache.embeddings import Embeddings
from probekit.cards import TaskCard
from probekit.errors import CacheError
from probekit.registry import unknown
from probekit.selection import Selection, parse, short


@dataclass(frozen=True)
class Chosen:
    """What is read of a teacher.

    Attributes
    ----------
    stream : str
        Of which stream.
    framed : bool
        Whether frames are read; otherwise one vector a clip.
    called : str
        The teacher as the user named it, and what that does not say: another stream than the
        default one, or a vector in the place of frames.
    unasked : bool
        Whether it is one vector a clip, and nobody asked for that.
    """

    stream: str
    framed: bool
    called: str
    unasked: bool = False


def choose(name: str, embeddings: Embeddings, task: TaskCard) -> Chosen:
    """Choose what is read of a teacher.

    Of a name without ``stream=`` and ``pool=`` it is the default stream where that has frames; else
    the only stream of which frames are kept, if there is one; else the default stream's vectors.

    Parameters
    ----------
    name : str
        As after ``--teacher``.
    embeddings : Embeddings
        Of that teacher.
    task : TaskCard
        The student's; for messages.

    Returns
    -------
    Chosen
        In the cache, with its frames where these are read.

    Raises
    ------
    CacheError
        If the stream was not extracted, or its frames were not kept; says how to.
    UnknownNameError
        If there is no such stream.
    """
    chosen = parse(name)
    pooled = "pool=" in name
    stream = chosen.stream or embeddings.default_stream
    if stream not in embeddings.grids:
        known = {**embeddings.grids, **embeddings.meta["card"].get("streams", {})}
        if stream not in known:
            raise unknown(f"stream of {chosen.name}", stream, known)
        raise CacheError(
            f"{embeddings.where}: stream {stream!r} of {short(chosen.name)} was not extracted, "
            f"only {', '.join(embeddings.grids)}. Extract it with: "
            f"{_extraction(embeddings, stream, task)}"
        )
    if pooled or (chosen.stream and _of_clips(embeddings, stream)):
        return Chosen(stream, False, name)
    if not _of_clips(embeddings, stream):
        _check_frames(embeddings, stream, task)
        return Chosen(stream, True, name)
    framed = [one for one in embeddings.grids if "frames" in embeddings.index.arrays(one)]
    if len(framed) == 1:
        return Chosen(framed[0], True, f"{name}{',' if ':' in name else ':'}stream={framed[0]}")
    return Chosen(stream, False, f"{name}, vectors", True)


def classes(embeddings: Embeddings) -> tuple[str, ...] | None:
    """Return the classes that a teacher was trained to tell.

    Parameters
    ----------
    embeddings : Embeddings
        Its own.

    Returns
    -------
    tuple of str or None
        In the order of its outputs; None where they are not known.
    """
    own = embeddings.layout.identity.get("module", {})
    if isinstance(own, dict) and "classes" in own:  # a trained student
        return tuple(own["classes"])
    return None if embeddings.head is None else embeddings.head.classes


def _of_clips(embeddings: Embeddings, stream: str) -> bool:
    """Tell whether a stream is one vector a clip."""
    return bool(embeddings.grids[stream]["kind"] == "clip")


def _check_frames(embeddings: Embeddings, stream: str, task: TaskCard) -> None:
    """Refuse a teacher of which only pooled vectors are kept; say how to keep frames."""
    if "frames" not in embeddings.index.arrays(stream):
        raise CacheError(
            f"{embeddings.where}: frames of {stream!r} were not kept, only pooled vectors. A "
            f"teacher needs frames. Keep them with: {_extraction(embeddings, stream, task)}"
        )


def _extraction(embeddings: Embeddings, stream: str, task: TaskCard) -> str:
    """Return the command that adds a stream with frames to embeddings."""
    settled = embeddings.layout
    params = settled.identity.get("params", {})
    name = str(Selection(settled.extractor, params={k: str(v) for k, v in params.items()}))
    # a table without a card: its name alone is no task that could be loaded
    bare = task.module == "table" and not task.options and task.name == task.dataset
    called = f"{task.name}.csv" if bare else task.name
    words = [f"probekit extract -e {name} --task {called} --root DIR"]
    words.append(f"--streams {stream} --frames")
    for file, drawn in settled.identity.get("weights", {}).items():
        if drawn.startswith("random:"):
            of = settled.extractor if file == "main" else f"{settled.extractor}.{file}"
            words.append(f"--weights {of}={drawn.split()[0]}")
    precision = settled.identity.get("precision", "float32")
    words += [f"--precision {precision}"] * (precision != "float32")
    words += [f"--dtype {settled.dtype}"] * (settled.dtype != "float32")
    words.append(f"--cache {embeddings.where.parents[1]}")
    return " ".join(words)
