"""Networks in ONNX files as extractors: ``-e onnx:FILE``, with a card beside the file.

A graph is data: nothing in it is code, and operators that need a library of their own are refused.
It runs in onnxruntime on the CPU.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit.cards import ExtractorCard, Parameter, Params, Stream
from probekit.cards.schema import HOP
from probekit.cards.selector import MODEL, ONNX
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors.adapters import onnx_card, onnx_file
from probekit.extractors.adapters.onnx_card import OnnxCard, Output
from probekit.extractors.base import Extractor, Outputs, WholeClipExtractor, WindowedExtractor
from probekit.extractors.weights.source import MAIN, WeightsSource, file_digests
from probekit.utils.text import first_line

_CARD = "card"  # parameter: name of a ready card
_PROVIDER = "CPUExecutionProvider"
# facts that change no number
_WORDS = {"name", "title", "notes", "not_established", "licence", "source", "bibtex"}
# keys with which OpenSoundscape describes a network inside its file
_RATE, _DURATION = "sample_rate", "sample_duration"


def describe_network(
    params: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[ExtractorCard, dict[str, WeightsSource], dict[str, Any], Path]:
    """Make the card of an extractor from an ONNX file and the card beside it.

    Parameters
    ----------
    params : mapping of str to str
        ``model``: the file; ``card``: name of a ready card.
    overrides : mapping of str to str
        The file's present path under ``onnx:MODEL`` or ``onnx.main``.

    Returns
    -------
    card : ExtractorCard
        With the streams of the outputs.
    sources : dict of str to WeightsSource
        The file.
    code : dict
        What else decides the values: hashes of the card's facts, of a front-end and of data beside
        the file.
    file : pathlib.Path
        The file.

    Raises
    ------
    ProbekitError
        If a file is missing or damaged, refers to others outside its folder or to operators that
        need a library, or does not fit its card.
    """
    model = params.get(MODEL, "")
    if not model:
        raise ProbekitError(f"{ONNX}: no file. Write {ONNX}:FILE.onnx")
    names = (f"{ONNX}:{model}", f"{ONNX}:{model}.{MAIN}", ONNX, f"{ONNX}.{MAIN}")
    override = next((overrides[name] for name in names if name in overrides), "")
    if override.startswith("random"):
        raise WeightsError(f"--weights {ONNX}: the weights of an ONNX file must not be random")
    file = Path(override or model).expanduser()
    if not file.is_file():
        raise ProbekitError(f"{ONNX}:{override or model}: no such file")
    facts = _load_facts(file, params.get(_CARD, ""))
    files = _read_files(file, facts)
    network = Session(file)
    network.check_input(facts.input, facts.axes, facts)
    if facts.frontend is not None:
        frontend = Session(file.with_name(facts.frontend.file))
        frontend.check_input(facts.frontend.input, facts.frontend.axes, facts)
    for name, output in facts.outputs.items():
        network.find_output(name, output)
    card = _make_card(facts, Path(model).name, params.get(_CARD, ""))
    digests = {path.name: file_digests(path).sha256 for path in files[1:]}
    code = {"card": _hash_facts(facts), **({"files": digests} if digests else {})}
    source = WeightsSource(path=file, sha256=file_digests(file).sha256)
    return card, {MAIN: source}, code, file


def _load_facts(file: Path, name: str) -> OnnxCard:
    """Return the card of a file: a ready one, the one beside it, or what the file says itself."""
    path = onnx_card.find_card(file, name)
    if path is not None:
        return onnx_card.load_card(path)
    onnx_file.read_references(file)  # damage is a better reason than a missing card
    session = Session(file)
    shapes = {tensor.name: tensor.shape for tensor in session.inputs}
    if any(not isinstance(size, int) for shape in shapes.values() for size in shape[1:]):
        listed = "; ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise onnx_card.no_card_error(file, f"the shape of its input is not fixed ({listed})")
    facts = session.metadata
    if _RATE not in facts:
        raise onnx_card.no_card_error(file, "it states no sample_rate")
    try:
        rate = int(float(facts[_RATE]))
        (shape,) = shapes.values()
        window = Fraction(facts[_DURATION]) if _DURATION in facts else Fraction(shape[-1], rate)
        axes = ("batch", *["one"] * (len(shape) - 2), "samples")
        outputs = {
            tensor.name: Output(dim=tensor.shape[-1])
            for tensor in session.outputs
            if len(tensor.shape) == 2 and isinstance(tensor.shape[-1], int)
        }
        return OnnxCard.model_validate(
            {
                "title": file.stem,
                "sample_rate": rate,
                "window": window,
                "axes": axes,
                "outputs": outputs,
            }
        )
    except ValueError as error:
        raise onnx_card.no_card_error(
            file, f"its own description does not suffice ({first_line(error)})"
        ) from error


def _hash_facts(facts: OnnxCard) -> str:
    """Return the SHA-256 of what a card says about numbers."""
    text = json.dumps(facts.model_dump(mode="json", exclude=_WORDS), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_files(file: Path, facts: OnnxCard) -> list[Path]:
    """Return all files of a network, itself first; none is outside its folder.

    Raises
    ------
    ProbekitError
        If one is missing or elsewhere, or needs operators of a library.
    """
    files = [file]
    if facts.frontend is not None:
        files.append(_beside(file, facts.frontend.file, "the card's front-end"))
    for path in list(files):
        references = onnx_file.read_references(path)
        if references.domains:
            raise WeightsError(
                f"{path}: needs operators of {', '.join(references.domains)}, which are code of a "
                "library of its own. probekit runs the operators of onnxruntime only; export the "
                "network without them"
            )
        files += [_beside(path, name, "data of its tensors") for name in references.data]
    return files


def _beside(file: Path, name: str, what: str) -> Path:
    """Return a file in the folder of another one."""
    path = file.with_name(Path(name).name)
    outside = Path(name).name != name or path.resolve().parent != file.resolve().parent
    if outside:
        raise WeightsError(
            f"{file}: names {what} in {name!r}; only files in its own folder are read. Move it "
            "there and export the network again"
        )
    if not path.is_file():
        raise WeightsError(f"{file}: {what} missing: {path}. Copy it there")
    return path


def _make_card(facts: OnnxCard, model: str, ready: str) -> ExtractorCard:
    """Return the extractor's card."""
    rate, frontend = facts.sample_rate, facts.frontend
    window, hop = facts.window, facts.hop or facts.window
    if frontend is not None:
        window = (frontend.frames - 1) * frontend.hop + frontend.window
        hop = frontend.step * frontend.hop
    streams = {}
    for name, output in facts.outputs.items():
        grid: dict[str, Any] = {}
        if window is not None and hop is not None:
            grid = {"hop": hop, "first_center": window / 2, "window": window}
        elif "time" in output.axes:
            grid = {key: getattr(output, key) for key in ("hop", "first_center", "window")}
        streams[name] = Stream(
            dim=output.dim,
            kind="frames" if grid else "clip",
            layer=output.layer,
            description=output.description,
            **grid,
        )
    parameters = {MODEL: Parameter(default=model, description="the file")}
    if ready:
        parameters[_CARD] = Parameter(default=ready, description="the ready card")
    tail = "zeros complete the last window" if facts.keep_tail else "an incomplete one is left out"
    windowed = facts.window is not None
    licence = facts.licence or "not stated"
    return ExtractorCard(
        name=ONNX,
        title=facts.title or f"{model}, a network in an ONNX file",
        version=1,
        module="onnx_networks",
        sample_rate=rate,
        padding=f"zeros follow a clip shorter than {'a window' if window else 'the least length'}"
        + (f"; {tail}" if windowed else ""),
        long_audio="windowed" if windowed else "exact",
        max_seconds=facts.max_seconds,
        default_stream=facts.default_stream or next(iter(facts.outputs)),
        streams=_spread(streams, facts),
        parameters=parameters,
        licence=licence,
        source=facts.source,
        bibtex=facts.bibtex,
        notes=facts.notes,
        not_established=facts.not_established,
        caveat=f"licence {licence}: non-commercial use only" if facts.non_commercial else "",
    )


def _spread(streams: dict[str, Stream], facts: OnnxCard) -> dict[str, Stream]:
    """Divide the window among the frames of outputs that have several."""
    spread = {}
    for name, stream in streams.items():
        count = facts.outputs[name].frames
        if facts.window is not None and count is not None and stream.window is not None:
            part = stream.window / count
            times = {"hop": part, "first_center": part / 2, "window": part}
            stream = stream.model_copy(update=times)
        spread[name] = stream
    return spread


class Session:
    """A network in onnxruntime.

    Parameters
    ----------
    file : pathlib.Path
        The ONNX file.

    Attributes
    ----------
    inputs, outputs : list
        Name, shape and type of each.
    metadata : dict of str to str
        What the file says of itself.
    """

    def __init__(self, file: Path) -> None:
        runtime = _import_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.file = file
        try:
            self._session = runtime.InferenceSession(str(file), options, providers=[_PROVIDER])
        except Exception as error:  # its own classes, which have no public base
            raise WeightsError(
                f"{file}: onnxruntime cannot load it ({first_line(error)})"
            ) from error
        self.inputs, self.outputs = self._session.get_inputs(), self._session.get_outputs()
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def check_input(self, name: str, axes: Sequence[str], facts: OnnxCard) -> None:
        """Find the input, and compare its shape with the card.

        Raises
        ------
        ProbekitError
            If there is none of that name, or its shape is another.
        """
        by_name = {tensor.name: tensor for tensor in self.inputs}
        if not name and len(by_name) != 1:
            raise ProbekitError(
                f"{self.file}: has the inputs {', '.join(by_name)}; its card must name one as input"
            )
        name = name or next(iter(by_name))
        if name not in by_name:
            raise ProbekitError(
                f"{self.file}: has no input {name!r} as in its card, only {', '.join(by_name)}"
            )
        if len(by_name) > 1:
            others = ", ".join(other for other in by_name if other != name)
            raise ProbekitError(
                f"{self.file}: needs further inputs, which is not supported: {others}"
            )
        self.name, self.axes = name, tuple(axes)
        shape, kind = by_name[name].shape, by_name[name].type
        if kind != "tensor(float)":
            raise ProbekitError(f"{self.file}: input {name} must be of type float, got {kind}")
        sizes = {"one": 1}
        if facts.window is not None:
            sizes["samples"] = int(facts.window * facts.sample_rate)
        if facts.frontend is not None:
            sizes["frames"], sizes["bands"] = facts.frontend.frames, facts.frontend.bands
        expected = [sizes.get(axis, axis) for axis in axes]
        fits = len(shape) == len(expected) and all(
            not (isinstance(a, int) and isinstance(b, int)) or a == b
            for a, b in zip(shape, expected, strict=True)
        )
        if not fits:
            raise ProbekitError(
                f"{self.file}: input {name} has the shape {shape}, but by its card "
                f"({facts.sample_rate} Hz, axes {' '.join(axes)}) it would be {expected}"
            )
        size = shape[axes.index("batch")] if "batch" in axes else 1
        if isinstance(size, int) and size > 1:
            raise ProbekitError(
                f"{self.file}: reads exactly {size} inputs at once; export it with 1 or any number"
            )
        self.single = isinstance(size, int)

    def find_output(self, stream: str, output: Output) -> str:
        """Return the name of the output of a stream, of which the dimension is compared.

        Raises
        ------
        ProbekitError
            If there is none, or it has another shape.
        """
        by_name = {tensor.name: tensor.shape for tensor in self.outputs}
        name = output.output or stream
        if not output.output and name not in by_name:
            same = [key for key, shape in by_name.items() if shape and shape[-1] == output.dim]
            name = same[0] if len(same) == 1 else name
        shape = by_name.get(name)
        listed = "; ".join(f"{key} {value}" for key, value in by_name.items())
        if shape is None:
            raise ProbekitError(
                f"{self.file}: has no output {name!r} for the stream {stream}; it has {listed}. "
                "Name one in its card: output: NAME"
            )
        dim = shape[output.axes.index("dim")] if len(shape) == len(output.axes) else None
        if dim is None or (isinstance(dim, int) and dim != output.dim):
            raise ProbekitError(
                f"{self.file}: output {name} has the shape {shape}, but by its card "
                f"{' '.join(output.axes)} with dim = {output.dim}"
            )
        return name

    def run(self, values: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Run the network on a batch, in the order of its input's axes.

        Parameters
        ----------
        values : Tensor, shape (batch, …)
            Its axes after the first are those of the input without ``one`` and ``batch``.
        names : sequence of str
            Names of the outputs.

        Returns
        -------
        list of Tensor
            One for each name; the batch is the first axis where the input has one.
        """
        batches = values.split(1) if self.single else (values,)
        parts = [self._run(batch, names) for batch in batches]
        return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, values: Tensor, names: Sequence[str]) -> list[Tensor]:
        array = values.cpu().numpy()
        if "batch" not in self.axes:
            array = array[0]
        for position, axis in enumerate(self.axes):
            if axis == "one":
                array = np.expand_dims(array, position)
        outputs = self._session.run(list(names), {self.name: np.ascontiguousarray(array)})
        return [
            torch.from_numpy(np.asarray(output, np.float32)).to(values.device) for output in outputs
        ]


def _import_runtime() -> Any:
    """Import onnxruntime; an error that names the extra if it is missing."""
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise ProbekitError(
            f"{ONNX}: needs onnxruntime, which is not installed. Install it with: pip install "
            '"probekit[onnx]"'
        ) from error


# ---- the extractors


class _OnnxNetwork(Extractor):
    """What extractors of ONNX files share."""

    batch_pieces = 64

    def prepare(self, facts: OnnxCard, file: Path) -> None:
        """Load the network."""
        self.facts = facts
        self.session = Session(file)
        self.session.check_input(facts.input, facts.axes, facts)
        self.output_names = [
            self.session.find_output(name, facts.outputs[name]) for name in self.stream_names
        ]

    def runtime(self) -> dict[str, str]:
        """Return the version of onnxruntime, what it runs on, and its number of threads."""
        return {
            "onnxruntime": metadata.version("onnxruntime"),
            "onnx_provider": _PROVIDER,
            "onnx_threads": str(torch.get_num_threads()),
        }

    def frontend(self, pieces: Tensor) -> Tensor:
        """Normalize waveforms as the card says."""
        rule = self.facts.normalize
        waves = pieces
        if rule.remove_mean:
            waves = waves - waves.double().mean(1, keepdim=True).to(waves.dtype)
        if rule.peak is not None:
            peak = waves.abs().amax(1, keepdim=True)
            waves = torch.where(peak > 0, waves * (rule.peak / peak.clamp_min(1e-30)), waves)
        return waves * rule.scale if rule.scale != 1.0 else waves

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        values = self.session.run(features, self.output_names)
        return {
            name: self._arrange(name, output, len(features))
            for name, output in zip(self.stream_names, values, strict=True)
        }

    def _arrange(self, name: str, values: Tensor, count: int) -> Tensor:
        """Return an output as (batch, time, dim) or (batch, dim); frequency is averaged."""
        output = self.facts.outputs[name]
        axes = list(output.axes)
        if values.ndim != len(axes):
            raise ProbekitError(
                f"{self.session.file}: output of {name} must have the axes {' '.join(axes)}, got "
                f"the shape {tuple(values.shape)}"
            )
        if "batch" not in axes:
            values, axes = values[None], ["batch", *axes]
        for axis in ("one", "frequency"):
            while axis in axes:
                position = axes.index(axis)
                values = values.mean(position)
                del axes[position]
        order = [axis for axis in ("batch", "time", "dim") if axis in axes]
        values = values.permute(*(axes.index(axis) for axis in order))
        if len(values) != count or values.shape[-1] != output.dim:
            raise ProbekitError(
                f"{self.session.file}: output of {name} must be {count} times {output.dim} "
                f"numbers, got the shape {tuple(values.shape)}"
            )
        return values


class OnnxWindows(_OnnxNetwork, WindowedExtractor):
    """A network that reads windows of a waveform."""

    def prepare(self, facts: OnnxCard, file: Path) -> None:
        """Load the network, and take over its windows."""
        super().prepare(facts, file)
        assert facts.window is not None
        hop = self.params.get(HOP) or facts.hop or facts.window
        self.window = int(facts.window * facts.sample_rate)
        self.hop = round(Fraction(hop) * facts.sample_rate)
        self.keep_tail = facts.keep_tail


class OnnxClips(_OnnxNetwork, WholeClipExtractor):
    """A network that reads whole clips."""

    def prepare(self, facts: OnnxCard, file: Path) -> None:
        """Load the network."""
        super().prepare(facts, file)
        self.min_samples = facts.min_samples


class OnnxFrames(_OnnxNetwork, WholeClipExtractor):
    """A network that reads windows of frames, which a second file computes of the whole clip."""

    def prepare(self, facts: OnnxCard, file: Path) -> None:
        """Load both files."""
        super().prepare(facts, file)
        assert facts.frontend is not None
        self.front = facts.frontend
        self.before = Session(file.with_name(self.front.file))
        self.before.check_input(self.front.input, self.front.axes, facts)
        self.before.single = True  # a batch may share a maximum
        if len(self.before.outputs) != 1:
            raise ProbekitError(f"{self.before.file}: a front-end must have one output")
        length = (self.front.frames - 1) * self.front.hop + self.front.window
        self.min_samples = -(-length * facts.sample_rate // 1)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return windows of frames, shape (pieces, windows, frames, bands)."""
        front = self.front
        (values,) = self.before.run(super().frontend(pieces), [self.before.outputs[0].name])
        frames = values.reshape(len(pieces), -1, front.bands) * front.scale + front.offset
        if frames.shape[1] < front.frames:
            raise ProbekitError(
                f"{self.before.file}: must make at least {front.frames} frames of "
                f"{pieces.shape[1]} samples, got {frames.shape[1]}"
            )
        return frames.unfold(1, front.frames, front.step).transpose(2, 3)

    def embed(self, features: Tensor) -> Outputs:
        """Run the network on all windows."""
        outputs = super().embed(features.flatten(0, 1))
        return {name: values.unflatten(0, features.shape[:2]) for name, values in outputs.items()}


def build_onnx_extractor(
    card: ExtractorCard,
    params: Params,
    streams: Sequence[str],
    sources: Mapping[str, WeightsSource],
    code: Mapping[str, Any],
    file: Path,
) -> Extractor:
    """Build the extractor of :func:`describe_network`.

    Raises
    ------
    ProbekitError
        If its files or its card have changed since.
    """
    facts = _load_facts(file, str(params.get(_CARD, "")))
    if _hash_facts(facts) != code["card"] or file_digests(file).sha256 != sources[MAIN].sha256:
        raise ProbekitError(f"{file}: changed while it was in use; run the same command again")
    cls: type[OnnxFrames | OnnxWindows | OnnxClips] = OnnxClips
    if facts.frontend is not None:
        cls = OnnxFrames
    elif facts.window is not None:
        cls = OnnxWindows
    extractor = cls(card, params, streams)
    extractor.prepare(facts, file)
    return extractor
