"""Embedding selectors: what follows ``-e``, as ``NAME[@FINGERPRINT][:key=value,…]``.

``hear:MODULE`` is a module of the HEAR API, ``hf:ORG/NAME[@REVISION]`` or ``hf:FOLDER`` a model of
the library transformers, ``onnx:FILE`` a network in an ONNX file, ``runs/ID`` a trained student
(short for ``student-ID``), ``A+B`` the concatenation of embeddings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from probekit.errors import ProbekitError

CACHE_KEYS = (
    "stream",
    "layer",
    "pool",
)  # keys that select from a cache instead of changing what is computed
HEAR = "hear"  # the extractor of all modules of the HEAR API
HF = "hf"  # the extractor of all models of the library transformers
ONNX = "onnx"  # the extractor of all ONNX files
MODEL, REVISION = "model", "revision"  # parameters of these two
LAYERS = ("all", "auto", "learned")  # values of ``layer=`` besides depths
STUDENT_PREFIX = "student-"  # of the names of trained students
_RUN_PREFIX = "runs/"  # its short form
_KEYLESS = {HEAR: "module", HF: MODEL, ONNX: MODEL}  # names whose first parameter needs no key
# what follows the name of a model, which may be a path: keys after a comma or colon
_KEYS = r"[A-Za-z_]\w*=[^,=]+"
_MODEL = re.compile(rf"(?P<model>.+?)(?:[:,](?P<keys>{_KEYS}(?:,{_KEYS})*))?", re.DOTALL)
_STARTS_WITH_KEY = re.compile(r"[A-Za-z_]\w*=")
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-][\w./-]*)")
# what a path with a plus sign was split into: no name of an extractor looks like this
_REST_OF_PATH = re.compile(r"$|(?!hf:|onnx:|runs/)[^:]*[/\\]|[^:]*\.onnx\b")
# a plus sign joins embeddings, unless between poolings: vggish:pool=mean+std+melstats
_PLUS = re.compile(r"\+(?!(?:mean|std|max)(?:[+,]|$))")


@dataclass(frozen=True)
class EmbeddingSelector:
    """Selector of one embedding.

    Attributes
    ----------
    name : str
        The extractor's name.
    fingerprint : str
        First digits of the fingerprint in the cache; empty if there is only one.
    params : dict of str to str
        Parameters of the extractor, as written by the user.
    stream : str
        Name of the stream; empty: the default one.
    layer : str
        Depth of a layer, one of :data:`LAYERS`, or empty; not together with ``stream``.
    pool : tuple of str
        Poolings over frames, concatenated.
    has_pool : bool
        Whether the user wrote ``pool=``; selectors that differ in it only are equal.
    """

    name: str
    fingerprint: str = ""
    params: dict[str, str] = field(default_factory=dict)
    stream: str = ""
    pool: tuple[str, ...] = ("mean",)
    has_pool: bool = field(default=False, compare=False)
    layer: str = ""

    def __str__(self) -> str:
        keys = dict(self.params)
        if self.stream:
            keys["stream"] = self.stream
        if self.layer:
            keys["layer"] = self.layer
        if self.pool != ("mean",):
            keys["pool"] = "+".join(self.pool)
        keyless = keys.pop(_KEYLESS.get(self.name, ""), "")
        if self.name == HF and REVISION in keys:
            keyless += f"@{keys.pop(REVISION)}"
        words = [keyless] * bool(keyless) + [f"{k}={v}" for k, v in keys.items()]
        text = self.name + (f"@{self.fingerprint}" if self.fingerprint else "")
        return text + (":" + ",".join(words) if words else "")


def parse_selector(text: str) -> EmbeddingSelector:
    """Parse the selector of one embedding.

    Parameters
    ----------
    text : str
        For example ``vggish``, ``vggish:stream=prerelu``, ``melstats@1a2b3c4d``,
        ``openl3:content=music,size=512,pool=mean+max``, ``hear:some.module,stream=scene`` or
        ``runs/1a2b3c4d5e6f``.

    Raises
    ------
    ProbekitError
        If the text is not of that form.
    """
    head, colon, tail = text.partition(":")
    name, _, fingerprint = head.partition("@")
    if name.startswith(_RUN_PREFIX):
        name = STUDENT_PREFIX + name.removeprefix(_RUN_PREFIX)
    if name in (HF, ONNX) and colon and not _STARTS_WITH_KEY.match(tail):
        pieces = _split_model(name, tail)
    else:
        pieces = tail.split(",") if colon else []
    if pieces and name in _KEYLESS and "=" not in pieces[0]:
        pieces[0] = f"{_KEYLESS[name]}={pieces[0]}"
    pairs = [piece.partition("=") for piece in pieces]
    if not name or not all(key and equals and value for key, equals, value in pairs):
        form = "write NAME, NAME:key=value,key=value or NAME@FINGERPRINT"
        if name and tail.isidentifier():
            form += f"; a stream is {head}:stream={tail}"
        raise ProbekitError(f"extractor {text!r}: {form}")
    params = {key.strip(): value.strip() for key, _, value in pairs}
    stream = params.pop("stream", "")
    layer = _parse_layer(text, params.pop("layer", ""), stream)
    has_pool = "pool" in params
    pool = tuple(params.pop("pool", "mean").split("+"))
    return EmbeddingSelector(name, fingerprint, params, stream, pool, has_pool, layer)


def _split_model(name: str, tail: str) -> list[str]:
    """Return the model as ``model=…``, its revision, and the keys that follow."""
    match = _MODEL.fullmatch(tail)
    if match is None:
        return [""]
    model, keys = match["model"], match["keys"]
    hub = _HUB_NAME.fullmatch(model) if name == HF else None
    pieces = [f"{MODEL}={model}"]
    if hub is not None:
        pieces = [f"{MODEL}={hub['name']}", f"{REVISION}={hub['revision']}"]
    return pieces + (keys.split(",") if keys else [])


def _parse_layer(text: str, layer: str, stream: str) -> str:
    """Return the value of ``layer=``, a depth without leading zeros."""
    if not layer or layer in LAYERS:
        value = layer
    elif layer.isascii() and layer.isdigit():
        value = str(int(layer))
    else:
        raise ProbekitError(
            f"extractor {text!r}: layer must be a depth (0, 1, …) or one of {', '.join(LAYERS)}, "
            f"got {layer!r}"
        )
    if layer and stream:
        raise ProbekitError(
            f"extractor {text!r}: a layer is a stream; give stream= or layer=, not both"
        )
    return value


def display_name(name: str) -> str:
    """Return the short form of an extractor's name: ``runs/ID`` for a trained student."""
    return (
        _RUN_PREFIX + name.removeprefix(STUDENT_PREFIX) if name.startswith(STUDENT_PREFIX) else name
    )


def parse_selectors(text: str) -> tuple[EmbeddingSelector, ...]:
    """Parse the selectors of one embedding or of several that are concatenated.

    Parameters
    ----------
    text : str
        As for :func:`parse_selector`, or several of these joined by ``+``: ``vggish+melstats``,
        ``vggish:pool=mean+std+melstats``.

    Raises
    ------
    ProbekitError
        If one is not of that form, or occurs twice.
    """
    pieces: list[str] = []
    for piece in _PLUS.split(text):
        if pieces and _REST_OF_PATH.match(piece) and pieces[-1].startswith((f"{HF}:", f"{ONNX}:")):
            pieces[-1] += f"+{piece}"
        else:
            pieces.append(piece)
    selectors = tuple(parse_selector(piece.strip()) for piece in pieces)
    if len({str(selector) for selector in selectors}) < len(selectors):
        raise ProbekitError(f"-e {text}: the same embedding twice")
    return selectors


def select_layers(name: str, depths: Mapping[str, int | None], layer: str) -> tuple[str, ...]:
    """Return the streams that ``layer=`` means.

    Parameters
    ----------
    name : str
        The extractor's name, for messages.
    depths : dict of str to int or None
        Depth of each stream; None for streams that are no layers.
    layer : str
        A depth, or another value of ``layer=``, which stands for all layers.

    Returns
    -------
    tuple of str
        Names of streams, by depth.

    Raises
    ------
    ProbekitError
        If no stream is a layer, there is no layer of this depth, or there are several.
    """
    layers = {stream: depth for stream, depth in depths.items() if depth is not None}
    if not layers:
        raise ProbekitError(
            f"{name}: layer={layer}: its card states no layers; choose one of its streams "
            f"instead: {', '.join(f'stream={stream}' for stream in depths)}"
        )
    by_depth = sorted(layers, key=lambda stream: layers[stream])
    if not layer.isdigit():
        return tuple(by_depth)
    streams = tuple(stream for stream in by_depth if layers[stream] == int(layer))
    if not streams:
        known = ", ".join(str(depth) for depth in sorted(set(layers.values())))
        raise ProbekitError(f"{name}: no layer {layer}; its layers are {known}")
    if len(streams) > 1:
        choices = " or ".join(f"stream={stream}" for stream in streams)
        raise ProbekitError(f"{name}: several streams are of layer {layer}; write {choices}")
    return streams


def layer_names(streams: tuple[str, ...], depths: Mapping[str, int | None]) -> list[int | str]:
    """Return the depth of each stream, or its name where several streams share the depth."""
    values = [depths[stream] for stream in streams]
    return [
        stream if depth is None or values.count(depth) > 1 else depth
        for stream, depth in zip(streams, values, strict=True)
    ]
