"""Models of transformers as extractors: ``-e hf:ORG/NAME[@REVISION]`` or ``-e hf:FOLDER``.

Types of models that probekit knows only; safetensors only; no code of the model's own is run. The
card is made from the configuration. Clips are read whole up to a length, longer ones in pieces
whose frames continue each other. Nothing is padded but what a network of fixed input needs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Parameter, Params, Stream
from probekit.cards.selector import HF, MODEL, REVISION
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors.adapters import hf_files, hf_frontends
from probekit.extractors.adapters.hf_files import ModelFiles, find_files, import_library
from probekit.extractors.base import Extractor, Outputs
from probekit.extractors.weights.source import MAIN, WeightsSource
from probekit.utils.text import first_line

PIECE = "piece"  # parameter: seconds of the longest piece
_LONGEST = 60.0  # its default
_LAST, _POOLED = "last", "pooled"


class Grid(NamedTuple):
    """Where frames lie, in samples: frame t covers ``field`` samples from ``start + t * hop``."""

    hop: int
    field: int
    start: int = 0


@dataclass(frozen=True)
class Family:
    """What models of one or several types share.

    Attributes
    ----------
    settings_class : str
        The class of transformers whose settings the front-end has.
    grid : callable
        Returns the grid of ``last`` from configuration and settings.
    frontend : callable
        Returns the front-end from configuration and settings.
    streams : callable
        Returns dimensions by stream from the configuration; layers as ``layer.N``.
    select : callable
        Returns what is used of a loaded model.
    run : callable
        Returns the outputs of that for features and stream names.
    prefixes : tuple of str
        Beginnings of the names of weights that must not be missing.
    fixed : callable or None
        Returns the samples of the longest piece, where the network's input is fixed.
    pads_last : bool
        Whether an incomplete last frame counts; otherwise it is dropped.
    squeeze : callable
        Returns how many frames of ``last`` one frame of a layer has.
    default_stream : str
        ``last`` or ``pooled``.
    """

    settings_class: str
    grid: Any
    frontend: Any
    streams: Any
    select: Any
    run: Any
    prefixes: tuple[str, ...] = ("",)
    fixed: Any = None
    pads_last: bool = False
    squeeze: Any = lambda config: 1
    default_stream: str = _LAST


# ---- networks of waveforms: wav2vec 2.0 and what followed


def _conv_grid(config: Any, settings: Mapping[str, Any]) -> Grid:
    """Return the grid of the convolutions at the start of a network of waveforms."""
    hop, field = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return Grid(hop, field)


def _block_streams(config: Any) -> dict[str, int]:
    """Return the streams of a network of equal blocks."""
    if getattr(config, "add_adapter", False):
        raise ProbekitError(
            f"{HF}: the configuration has add_adapter=true: layers after the last one, which "
            "change the frame grid. Use the checkpoint before fine-tuning"
        )
    depth, dim = config.num_hidden_layers, config.hidden_size
    return {_LAST: dim, **{f"layer.{k}": dim for k in range(depth + 1)}}


def _run_blocks(network: nn.Module, features: Tensor, names: Sequence[str]) -> Outputs:
    """Run a network of equal blocks."""
    layers = any(name.startswith("layer.") for name in names)
    output = network(features, output_hidden_states=layers)
    return _named(names, output.last_hidden_state, output.hidden_states if layers else ())


def _named(names: Sequence[str], last: Tensor, states: Sequence[Tensor]) -> Outputs:
    """Return outputs by stream."""
    return {name: last if name == _LAST else states[int(name[6:])] for name in names}


_WAVEFORMS = Family(
    settings_class="Wav2Vec2FeatureExtractor",
    grid=_conv_grid,
    frontend=lambda config, settings: hf_frontends.Waveform(settings),
    streams=_block_streams,
    select=lambda model: model,
    run=_run_blocks,
    squeeze=lambda config: getattr(config, "squeeze_factor", 1),
)


# ---- networks of filter banks: w2v-BERT


def _stacked_grid(config: Any, settings: Mapping[str, Any]) -> Grid:
    stride = int(settings.get("stride", 2))
    bands = int(settings.get("num_mel_bins", 80))
    if stride * bands != config.feature_projection_input_dim:
        raise _conflict(
            "stride * num_mel_bins", stride * bands, "feature_projection_input_dim",
            config.feature_projection_input_dim,
        )  # fmt: skip
    kaldi = hf_frontends.Kaldi
    return Grid(stride * kaldi.hop, (stride - 1) * kaldi.hop + kaldi.length)


_FILTER_BANKS = Family(
    settings_class="SeamlessM4TFeatureExtractor",
    grid=_stacked_grid,
    frontend=lambda config, settings: hf_frontends.KaldiStacked(settings),
    streams=_block_streams,
    select=lambda model: model,
    run=_run_blocks,
)


# ---- Whisper: its encoder reads 30 s


def _whisper_grid(config: Any, settings: Mapping[str, Any]) -> Grid:
    rate, hop = settings["sampling_rate"], settings["hop_length"]
    frames = settings["chunk_length"] * rate // hop
    if frames != 2 * config.max_source_positions:
        raise _conflict(
            "chunk_length * sampling_rate / hop_length", frames, "2 * max_source_positions",
            2 * config.max_source_positions,
        )  # fmt: skip
    if settings["feature_size"] != config.num_mel_bins:
        raise _conflict(
            "feature_size", settings["feature_size"], "num_mel_bins", config.num_mel_bins
        )
    for name in ("dither", "do_normalize"):
        if settings.get(name):
            raise ProbekitError(
                f"{HF}: {name}={settings[name]} of a Whisper model is not supported"
            )
    field = 4 * hop + settings["n_fft"]  # two convolutions of three frames, the second of stride 2
    return Grid(2 * hop, field, -field // 2)


def _whisper_streams(config: Any) -> dict[str, int]:
    dim = config.d_model
    return {_LAST: dim, **{f"layer.{k}": dim for k in range(config.encoder_layers + 1)}}


_WHISPER = Family(
    settings_class="WhisperFeatureExtractor",
    grid=_whisper_grid,
    frontend=lambda config, settings: hf_frontends.WhisperMel(settings),
    streams=_whisper_streams,
    select=lambda model: model.get_encoder(),
    run=_run_blocks,
    prefixes=("encoder.",),
    fixed=lambda config, settings: settings["chunk_length"] * settings["sampling_rate"],
    pads_last=True,
)


# ---- AST: patches of a spectrogram of fixed length


def _patches(config: Any) -> tuple[int, int]:
    """Return the numbers of patches over frequency and time."""
    size = config.patch_size
    return (
        (config.num_mel_bins - size) // config.frequency_stride + 1,
        (config.max_length - size) // config.time_stride + 1,
    )


def _ast_grid(config: Any, settings: Mapping[str, Any]) -> Grid:
    for name in ("max_length", "num_mel_bins"):
        if settings[name] != getattr(config, name):
            raise _conflict(name, settings[name], name, getattr(config, name))
    kaldi = hf_frontends.Kaldi
    field = (config.patch_size - 1) * kaldi.hop + kaldi.length
    return Grid(config.time_stride * kaldi.hop, field)


def _ast_fixed(config: Any, settings: Mapping[str, Any]) -> int:
    grid = _ast_grid(config, settings)
    return (_patches(config)[1] - 1) * grid.hop + grid.field


def _ast_streams(config: Any) -> dict[str, int]:
    dim, depth = config.hidden_size, config.num_hidden_layers
    return {_LAST: dim, **{f"layer.{k}": dim for k in range(depth + 1)}, _POOLED: dim}


def _run_ast(network: nn.Module, features: Tensor, names: Sequence[str]) -> Outputs:
    """Run AST; tokens are averaged over frequency, so that frames remain."""
    layers = any(name.startswith("layer.") for name in names)
    output = network(features, output_hidden_states=layers)
    shape = _patches(network.config)

    def over_time(tokens: Tensor) -> Tensor:
        return tokens[:, 2:].unflatten(1, shape).mean(1)  # the first two stand for the whole

    outputs: Outputs = {}
    for name in names:
        if name == _POOLED:
            outputs[name] = output.pooler_output
        elif name == _LAST:
            outputs[name] = over_time(output.last_hidden_state)
        else:
            outputs[name] = over_time(output.hidden_states[int(name[6:])])
    return outputs


_AST = Family(
    settings_class="ASTFeatureExtractor",
    grid=_ast_grid,
    frontend=lambda config, settings: hf_frontends.Spectrogram(settings),
    streams=_ast_streams,
    select=lambda model: model,
    run=_run_ast,
    fixed=_ast_fixed,
)


# ---- CLAP: one vector for each window of 10 s


def _clap_grid(config: Any, settings: Mapping[str, Any]) -> Grid:
    bands = config.audio_config.num_mel_bins
    if settings["feature_size"] != bands:
        raise _conflict("feature_size", settings["feature_size"], "num_mel_bins", bands)
    if (settings["truncation"] == "fusion") != config.audio_config.enable_fusion:
        raise _conflict(
            "truncation", settings["truncation"], "enable_fusion", config.audio_config.enable_fusion
        )
    samples = settings["max_length_s"] * settings["sampling_rate"]
    return Grid(samples, samples)


def _clap_streams(config: Any) -> dict[str, int]:
    audio = config.audio_config
    first, depth = audio.patch_embeds_hidden_size, len(audio.depths)
    dims = [first * 2 ** min(k, depth - 1) for k in range(depth + 1)]
    return {
        _POOLED: config.projection_dim,
        _LAST: audio.hidden_size,
        **{f"layer.{k}": dim for k, dim in enumerate(dims)},
    }


class ClapAudio(nn.Module):
    """The audio tower of CLAP with its projection."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.audio_model, self.audio_projection = model.audio_model, model.audio_projection


def _run_clap(network: Any, features: Tensor, names: Sequence[str]) -> Outputs:
    """Run the audio tower; maps of stages are averaged over time and frequency."""
    layers = any(name.startswith("layer.") for name in names)
    longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
    output = network.audio_model(features, is_longer=longer, output_hidden_states=layers)
    outputs: Outputs = {}
    for name in names:
        if name == _POOLED:
            projected = network.audio_projection(output.pooler_output)
            outputs[name] = nn.functional.normalize(projected, dim=-1)
        elif name == _LAST:
            outputs[name] = output.pooler_output
        else:
            outputs[name] = output.hidden_states[int(name[6:])].flatten(2).mean(2)
    return outputs


_CLAP = Family(
    settings_class="ClapFeatureExtractor",
    grid=_clap_grid,
    frontend=lambda config, settings: hf_frontends.ClapMel(settings),
    streams=_clap_streams,
    select=ClapAudio,
    run=_run_clap,
    prefixes=("audio_model.", "audio_projection."),
    fixed=lambda config, settings: settings["max_length_s"] * settings["sampling_rate"],
    default_stream=_POOLED,
)


# ---- codecs: the output of the encoder


def _walk(layers: Sequence[tuple[int, int, int, int]]) -> Grid:
    """Return the grid of convolutions: (kernel, stride, dilation, padding before) of each."""
    hop, field, start = 1, 1, 0
    for kernel, stride, dilation, padding in layers:
        start -= padding * hop
        field += (kernel - 1) * dilation * hop
        hop *= stride
    return Grid(hop, field, start)


def _encodec_grid(config: Any, settings: Mapping[str, Any]) -> Grid:
    if config.sampling_rate != settings["sampling_rate"]:
        raise _conflict(
            "sampling_rate", settings["sampling_rate"], "sampling_rate", config.sampling_rate
        )
    if config.audio_channels != 1 or config.normalize or config.chunk_length_s:
        raise ProbekitError(
            f"{HF}: of EnCodec, probekit reads models of one channel without normalization, such "
            "as encodec_24khz"
        )

    def layer(kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int, int, int]:
        total = (kernel - 1) * dilation + 1 - stride
        padding = total if config.use_causal_conv else total - total // 2
        return kernel, stride, dilation, padding

    layers = [layer(config.kernel_size)]
    for ratio in reversed(config.upsampling_ratios):
        for j in range(config.num_residual_layers):
            layers.append(layer(config.residual_kernel_size, 1, config.dilation_growth_rate**j))
        layers.append(layer(2 * ratio, ratio))
    return _walk([*layers, layer(config.last_kernel_size)])


def _dac_grid(config: Any, settings: Mapping[str, Any]) -> Grid:
    if config.sampling_rate != settings["sampling_rate"]:
        raise _conflict(
            "sampling_rate", settings["sampling_rate"], "sampling_rate", config.sampling_rate
        )
    layers = [(7, 1, 1, 3)]
    for stride in config.downsampling_ratios:
        layers += [(7, 1, dilation, 3 * dilation) for dilation in (1, 3, 9)]
        layers.append((2 * stride, stride, 1, -(-stride // 2)))
    return _walk([*layers, (3, 1, 1, 1)])


def _run_codec(network: nn.Module, features: Tensor, names: Sequence[str]) -> Outputs:
    """Run the encoder of a codec."""
    return {_LAST: network(features).transpose(1, 2)}


_ENCODEC = Family(
    settings_class="EncodecFeatureExtractor",
    grid=_encodec_grid,
    frontend=lambda config, settings: hf_frontends.Samples(),  # its convolutions pad themselves
    streams=lambda config: {_LAST: config.hidden_size},
    select=lambda model: model.encoder,
    run=_run_codec,
    prefixes=("encoder.",),
    pads_last=True,
)
_DAC = Family(
    settings_class="DacFeatureExtractor",
    grid=_dac_grid,
    frontend=lambda config, settings: hf_frontends.Samples(_dac_grid(config, settings).hop),
    streams=lambda config: {_LAST: config.hidden_size},
    select=lambda model: model.encoder,
    run=_run_codec,
    prefixes=("encoder.",),
    pads_last=True,
)

FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        (
            "wav2vec2",
            "wav2vec2-conformer",
            "hubert",
            "wavlm",
            "data2vec-audio",
            "unispeech",
            "unispeech-sat",
            "sew",
            "sew-d",
        ),
        _WAVEFORMS,
    ),
    "wav2vec2-bert": _FILTER_BANKS,
    "whisper": _WHISPER,
    "audio-spectrogram-transformer": _AST,
    "clap": _CLAP,
    "encodec": _ENCODEC,
    "dac": _DAC,
}
"""The types of models that are read, by ``model_type`` of their configuration."""


# ---- from a selector to a card


class Description(NamedTuple):
    """What determines an extractor: its card, weights, further identity, and a file of it."""

    card: ExtractorCard
    sources: dict[str, WeightsSource]
    code: dict[str, Any]
    file: Path


def describe_model(params: Mapping[str, str], overrides: Mapping[str, str]) -> Description:
    """Make the card of a model from its configuration; its weights are hashed, not loaded.

    Parameters
    ----------
    params : mapping of str to str
        ``model``: a folder, or ``ORG/NAME`` of the hub; ``revision`` of the hub.
    overrides : mapping of str to str
        ``random:SEED`` for random weights, or the model's present folder, under ``hf:MODEL`` or
        ``hf.main``.

    Returns
    -------
    Description
        The fingerprint covers the SHA-256 of configuration, settings and weights, and the version
        of transformers: a new one may compute other numbers.

    Raises
    ------
    ProbekitError
        If files are missing or damaged, or the model is not of a type that is read.
    """
    model = params.get(MODEL, "")
    if not model:
        raise ProbekitError(f"{HF}: no model. Write {HF}:ORG/NAME, {HF}:ORG/NAME@REVISION or "
                            f"{HF}:FOLDER")  # fmt: skip
    revision = params.get(REVISION, "")
    override = _find_override(model, revision, overrides)
    seed = _parse_seed(model, override)
    place, at = (override, "") if override and seed is None else (model, revision)
    files = find_files(place, at, with_weights=seed is None)
    family = _find_family(files)
    config, settings = load_settings(files, family)
    name = model if place != model else files.name
    card = _make_card(files, family, config, settings, name, revision, seed)
    if seed is not None:
        source = WeightsSource(seed=seed)
    else:
        assert files.weights is not None
        source = WeightsSource(path=files.weights, sha256=hf_files.hash_weights(files.weights))
    return Description(card, {MAIN: source}, _identity(files), files.folder / hf_files.CONFIG)


def _find_override(model: str, revision: str, overrides: Mapping[str, str]) -> str:
    """Return what ``--weights`` says of a model; empty if nothing."""
    names = [f"{HF}:{model}@{revision}"] * bool(revision) + [f"{HF}:{model}", HF]
    for name in names:
        for key in (name, f"{name}.{MAIN}"):
            if key in overrides:
                return overrides[key]
    return ""


def _parse_seed(model: str, override: str) -> int | None:
    """Return the seed of random weights; None for those of a file."""
    if not override.startswith("random"):
        return None
    _, _, seed = override.partition(":")
    if not seed.isdigit():
        raise WeightsError(
            f"--weights {HF}:{model}: random weights must be random:SEED with an integer SEED "
            f">= 0, such as random:0, got {override!r}"
        )
    return int(seed)


def _identity(files: ModelFiles) -> dict[str, Any]:
    """Return what the fingerprint covers besides parameters and weights."""
    major, minor = metadata.version("transformers").split(".")[:2]
    return {
        "type": files.config["model_type"],
        **files.digests,
        "transformers": f"{major}.{minor}",
    }


def _find_family(files: ModelFiles) -> Family:
    """Return the family of a model; an error that lists the types that are read."""
    kind = files.config.get("model_type")
    if kind in FAMILIES:
        return FAMILIES[str(kind)]
    import_library("transformers")
    auto = import_library("transformers.models.auto.modeling_auto")
    texts = {*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    what = "a model of text, not of audio" if kind in texts else "a type that is not read"
    raise ProbekitError(
        f"{files.folder}: model_type {kind!r} is {what}. {HF}: reads {', '.join(FAMILIES)}. "
        "For others, export the network to ONNX: onnx:FILE"
    )


def load_settings(files: ModelFiles, family: Family) -> tuple[Any, dict[str, Any]]:
    """Return configuration and settings with the defaults of transformers."""
    transformers = import_library("transformers")
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(files.folder, **options)
            extractor = transformers.AutoFeatureExtractor.from_pretrained(files.folder, **options)
    except Exception as error:  # of any kind, for configurations that are not valid
        raise ProbekitError(
            f"{files.folder}: transformers cannot read its configuration ({first_line(error)})"
        ) from error
    name = type(extractor).__name__
    if name != family.settings_class:
        raise ProbekitError(
            f"{files.folder}: {hf_files.PREPROCESSOR} is of a {name}, but models of type "
            f"{files.config['model_type']} have a {family.settings_class}"
        )
    settings = dict(extractor.to_dict())
    rate = settings.get("sampling_rate")
    if not isinstance(rate, int) or rate <= 0:
        raise ProbekitError(
            f"{files.folder}: sampling_rate in {hf_files.PREPROCESSOR} must be an integer > 0, got "
            f"{rate!r}"
        )
    return config, settings


def _conflict(setting: str, value: Any, name: str, expected: Any) -> ProbekitError:
    """Return the error that settings and configuration are not of one model."""
    return ProbekitError(
        f"{HF}: {hf_files.PREPROCESSOR} has {setting} = {value}, but {hf_files.CONFIG} has {name} "
        f"= {expected}: they are not of one model. Copy both files from the same place"
    )


def _make_card(
    files: ModelFiles,
    family: Family,
    config: Any,
    settings: Mapping[str, Any],
    name: str,
    revision: str,
    seed: int | None,
) -> ExtractorCard:
    """Make the card of a model, which is called by its name on the hub or by its folder's."""
    kind, rate = files.config["model_type"], settings["sampling_rate"]
    grid, squeeze = family.grid(config, settings), family.squeeze(config)
    streams = {}
    for stream, dim in family.streams(config).items():
        layer = int(stream[6:]) if stream.startswith("layer.") else None
        step = squeeze if layer is not None else 1
        times: dict[str, Any] = {}
        if stream != _POOLED or kind == "clap":
            field = grid.field + (step - 1) * grid.hop
            times = {
                "hop": Fraction(step * grid.hop, rate),
                "first_center": Fraction(2 * grid.start + field, 2 * rate),
                "window": Fraction(field, rate),
            }
        streams[stream] = Stream(
            dim=dim,
            kind="frames" if times else "clip",
            layer=layer,
            description=_describe_stream(stream, kind, layer),
            **times,
        )
    parameters = {MODEL: Parameter(default=name, description="name on the hub, or folder")}
    if revision:
        parameters[REVISION] = Parameter(default=revision, description="branch, tag or commit")
    if family.fixed is None:
        text = "seconds of the longest piece; a longer clip is cut into several"
        parameters[PIECE] = Parameter(default=_LONGEST, description=text)
    licence = files.licence
    caveat = f"licence {licence}: non-commercial use only" if files.is_noncommercial else ""
    return ExtractorCard(
        name=HF,
        title=f"{name}: a {kind} model of transformers",
        version=1,
        module="hf_models",
        sample_rate=rate,
        padding=_describe_padding(kind, family, config, settings),
        long_audio="exact",
        default_stream=family.default_stream,
        streams=streams,
        parameters=parameters,
        licence=licence or "not stated by its model card",
        source=f"https://huggingface.co/{name}" if "/" in name else "",
        caveat=caveat if seed is None else "",
        notes=[
            f"Front-end: probekit's own, with the settings of its {family.settings_class}; neither "
            "torchaudio nor any other library changes it.",
            "A frame's window is that of the layers before the first attention or recurrence; "
            "after these, it depends on the whole piece.",
        ],
    )


def _describe_stream(name: str, kind: str, layer: int | None) -> str:
    """Return what a stream is."""
    if layer is not None:
        averaged = {
            "clap": ", averaged over time and frequency",
            "audio-spectrogram-transformer": ", averaged over frequency",
        }.get(kind, "")
        what = "input of the first block" if layer == 0 else f"output of block {layer}"
        return f"{what} (hidden_states[{layer}]){averaged}"
    if name == _POOLED:
        return {
            "clap": "projection into the space of texts, of length 1, for each window",
            "audio-spectrogram-transformer": "mean of the tokens CLS and distillation (pooler)",
        }[kind]
    return {
        "clap": "map of the last stage, averaged: the input of the projection",
        "audio-spectrogram-transformer": "output after the last norm, averaged over frequency",
        "encodec": "output of the encoder, before quantization",
        "dac": "output of the encoder, before quantization",
    }.get(kind, "output after the last norm (last_hidden_state)")


def _describe_padding(kind: str, family: Family, config: Any, settings: Mapping[str, Any]) -> str:
    """Return how clips are cut, and what follows short ones."""
    if family.fixed is None:
        text = "none; clips longer than a piece are cut into pieces of equal numbers of frames"
        if family.pads_last:
            return f"{text}; zeros complete the last frame"
        return f"{text}; zeros follow a clip shorter than a frame"
    seconds = family.fixed(config, settings) / settings["sampling_rate"]
    if kind == "clap":
        return (
            f"windows of {seconds:g} s, one after the other; a shorter clip is repeated up to "
            "that, then zeros follow; a rest shorter than half a window is left out"
        )
    return (
        f"zeros up to {seconds:g} s, of which no frame is kept; longer clips are cut into pieces "
        "of equal numbers of frames"
    )


# ---- the extractor


class HFModel(Extractor):
    """A model of transformers.

    Parameters
    ----------
    card : ExtractorCard
        From :func:`describe_model`.
    params : dict
        Those of the card.
    streams : sequence of str
        Names of the streams to compute.
    family : Family
        That of its type.
    config : object
        Its configuration.
    settings : mapping
        Settings of its front-end.
    model : torch.nn.Module
        With its weights.
    """

    network: nn.Module
    batch_pieces = 64

    def __init__(
        self,
        card: ExtractorCard,
        params: Params,
        streams: Sequence[str],
        family: Family,
        config: Any,
        settings: Mapping[str, Any],
        model: nn.Module,
    ) -> None:
        super().__init__(card, params, streams)
        self.network = family.select(model)
        self.features = family.frontend(config, settings)
        self.family, self.grid = family, family.grid(config, settings)
        self.squeeze: int = family.squeeze(config)
        self.fixed: int | None = family.fixed(config, settings) if family.fixed else None
        self.is_clap = family is _CLAP
        if self.fixed is None:
            longest = int(float(params[PIECE]) * card.sample_rate)
            if longest < self._shortest:
                raise ProbekitError(
                    f"{HF}: piece must be at least {self._shortest / card.sample_rate:g} s, got "
                    f"{params[PIECE]}"
                )
        else:
            longest = self.fixed
        self.longest = longest  # samples

    @property
    def _shortest(self) -> int:
        """Samples of the shortest piece with a frame of every stream."""
        if self.family.pads_last:
            return self.grid.hop
        return self.grid.field + (self.squeeze - 1) * self.grid.hop

    def runtime(self) -> dict[str, str]:
        """Return the version of transformers."""
        return {"transformers": metadata.version("transformers")}

    # Pieces and frames. A group is as many frames as one frame of a layer has.

    def _groups(self, samples: int) -> int:
        """Return the number of groups of frames of a piece."""
        hop = self.grid.hop * self.squeeze
        if self.family.pads_last:
            return max(1, -(-samples // hop))
        return max(1, (samples - self._shortest) // hop + 1)

    def pieces(self, samples: int) -> list[tuple[int, int]]:
        """Return start and end of the pieces of a clip.

        Parameters
        ----------
        samples : int
            Length of the clip; at least that of one frame.

        Returns
        -------
        list of tuple of int
            Their frames continue each other, and their numbers differ by one at most.
        """
        if samples <= self.longest:
            return [(0, samples)]
        hop = self.grid.hop * self.squeeze
        if self.is_clap:
            starts = range(0, samples, hop)
            return [(a, min(a + hop, samples)) for a in starts if 2 * (samples - a) >= hop]
        total = self._groups(samples)
        most = self.longest // hop if self.family.pads_last else self._groups(self.longest)
        count = -(-total // most)
        edges = [total * k // count for k in range(count + 1)]
        overlap = 0 if self.family.pads_last else self._shortest - hop
        return [(a * hop, min(samples, b * hop + overlap)) for a, b in pairwise(edges)]

    def split(self, wave: Tensor) -> Tensor:
        """Return a clip that is one piece, shape (1, samples); zeros follow a very short one."""
        missing = self._minimum - len(wave)
        return (nn.functional.pad(wave, (0, missing)) if missing > 0 else wave)[None]

    @property
    def _minimum(self) -> int:
        return 1 if self.is_clap or self.family.pads_last else self._shortest

    def frontend(self, pieces: Tensor) -> Tensor:
        """Compute the network's input from the settings."""
        return self.features(pieces)

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        outputs: Outputs = self.family.run(self.network, features, self.stream_names)
        return outputs

    def _run(self, pieces: Tensor) -> Outputs:
        """Run front-end and network; frames beyond the end of the pieces are left out."""
        outputs = self.apply_network(self.frontend(pieces))
        groups = 1 if self.is_clap else self._groups(pieces.shape[1])
        cropped = {}
        for name, values in outputs.items():
            if values.ndim == 2:
                cropped[name] = values
                continue
            frames = groups * (1 if name.startswith("layer.") else self.squeeze)
            if values.shape[1] < frames:
                raise ProbekitError(
                    f"{HF}: {self.card.title}: must return at least {frames} frames of {name} for "
                    f"{pieces.shape[1]} samples, got {values.shape[1]}"
                )
            cropped[name] = values[:, :frames]
        return cropped

    def max_batch_size(self, samples: int) -> int:
        """Return how many pieces go through the network together: fixed inputs cost the same."""
        return super().max_batch_size(self.fixed or samples)

    @torch.inference_mode()
    def forward(self, waves: Sequence[Any]) -> list[Outputs]:
        """Embed clips; pieces of equal length go through the network together."""
        device = self.device
        cut: list[tuple[int, Tensor]] = []
        for i, wave in enumerate(waves):
            clip = self.split(self._to_tensor(wave).to(device, torch.float32))[0]
            cut += [(i, clip[start:stop]) for start, stop in self.pieces(len(clip))]
        by_length: dict[int, list[int]] = {}
        for k, (_, piece) in enumerate(cut):
            by_length.setdefault(len(piece), []).append(k)
        outputs: list[Outputs] = [{} for _ in cut]
        for indices in by_length.values():
            batch = self.run(torch.stack([cut[k][1] for k in indices]))
            for row, k in enumerate(indices):
                outputs[k] = {name: values[row] for name, values in batch.items()}
        results = []
        for i in range(len(waves)):
            pieces = [k for k, (clip, _) in enumerate(cut) if clip == i]
            lengths = torch.tensor([float(len(cut[k][1])) for k in pieces], device=device)
            results.append(
                {name: self._join(name, [outputs[k][name] for k in pieces], lengths)
                 for name in self.stream_names}
            )  # fmt: skip
        return results

    def _join(self, name: str, values: list[Tensor], lengths: Tensor) -> Tensor:
        """Join a stream's values of the pieces of a clip."""
        stream = self.streams[name]
        if stream.kind == "frames":
            return torch.cat([v.reshape(-1, stream.dim) for v in values])
        weights = lengths / lengths.sum()
        return (torch.stack(values) * weights[:, None]).sum(0)


def build_hf_extractor(
    card: ExtractorCard,
    params: Params,
    streams: Sequence[str],
    sources: Mapping[str, WeightsSource],
    code: Mapping[str, Any],
    file: Path,
) -> HFModel:
    """Build the extractor of :func:`describe_model`, with its weights.

    Raises
    ------
    ProbekitError
        If its files or transformers have changed since, or its weights do not fit.
    """
    source = sources[MAIN]
    files = find_files(str(file.parent), "", with_weights=source.seed is None)
    if _identity(files) != dict(code):
        raise ProbekitError(
            f"{file.parent}: changed while it was in use, or this process has another version of "
            "transformers; run the same command again"
        )
    family = _find_family(files)
    config, settings = load_settings(files, family)
    model = load_model(files, config, source, family.prefixes)
    return HFModel(card, params, streams, family, config, settings, model)


def load_model(
    files: ModelFiles, config: Any, source: WeightsSource, prefixes: tuple[str, ...]
) -> nn.Module:
    """Return a model with its weights, in evaluation mode.

    Raises
    ------
    WeightsError
        If weights whose names begin with one of ``prefixes`` are missing, or do not fit.
    """
    transformers = import_library("transformers")
    if source.seed is not None:
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(source.seed)
            drawn: nn.Module = transformers.AutoModel.from_config(config, dtype=torch.float32)
        return drawn.eval()
    try:
        with quiet():
            model, info = transformers.AutoModel.from_pretrained(
                files.folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{files.weights}: cannot be loaded into a model of {hf_files.CONFIG} "
            f"({first_line(error)})"
        ) from error
    missing = sorted(
        key
        for key in info["missing_keys"]
        if key.startswith(prefixes) and not key.endswith("masked_spec_embed")
    )
    if missing:
        raise WeightsError(
            f"{files.weights}: lacks {len(missing)} weights of the network, for example "
            f"{missing[0]}: it is not the file of this {hf_files.CONFIG}"
        )
    network: nn.Module = model.eval()
    return network


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing warnings and progress bars."""
    logging = import_library("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
