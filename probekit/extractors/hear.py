"""Any extractor as a module of the HEAR API, for tools that evaluate such modules.

Such tools import a module by its name and pass only a path to ``load_model``. So the extractor is
named by the path, or in the environment::

    PROBEKIT_HEAR=vggish python -m heareval.embeddings.runner probekit.extractors.hear …

``PROBEKIT_HEAR_WEIGHTS`` takes the same as ``--weights``, for example ``vggish=random:0``, with
commas between several. The API is described in :mod:`probekit.extractors.adapters.hear_protocol`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from probekit import cards
from probekit.cards.selector import EmbeddingSelector, parse_selector
from probekit.errors import ProbekitError
from probekit.extractors import load
from probekit.extractors.adapters.hear_protocol import RATES
from probekit.extractors.pooling import POOLINGS
from probekit.extractors.weights.source import parse_overrides
from probekit.utils.suggest import unknown_name_error


class Model(nn.Module):
    """An extractor with the attributes of a HEAR model.

    Parameters
    ----------
    spec : Spec
        The extractor, with both streams.
    scene : str
        The stream of scene embeddings.
    timestamps : str
        The stream of timestamp embeddings; one vector a clip is computed for windows.
    pool : sequence of str
        Poolings of frames to a scene embedding.
    window, hop : float
        Of those windows, in seconds.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    scene_embedding_size, timestamp_embedding_size : int
        Lengths of the vectors.
    """

    def __init__(
        self,
        spec: load.Spec,
        scene: str,
        timestamps: str,
        pool: Sequence[str],
        window: float,
        hop: float,
    ) -> None:
        super().__init__()
        self.extractor = load.build_extractor(spec)
        self.scene, self.timestamps, self.pool = scene, timestamps, tuple(pool)
        self.sample_rate = spec.card.sample_rate
        self.window, self.hop = (round(length * self.sample_rate) for length in (window, hop))
        streams = self.extractor.streams
        self.by_windows = streams[timestamps].kind == "clip"
        pooled = 1 if streams[scene].kind == "clip" else len(self.pool)
        self.scene_embedding_size = streams[scene].dim * pooled
        self.timestamp_embedding_size = streams[timestamps].dim


def load_model(
    model_file_path: str = "",
    *,
    extractor: str = "",
    weights: Sequence[str] = (),
    window: float = 1.0,
    hop: float = 0.25,
) -> Model:
    """Build an extractor as a HEAR model.

    Parameters
    ----------
    model_file_path : str
        An extractor as after ``-e`` (``"vggish:stream=prerelu"``), or the path of the main weights
        of ``extractor``.
    extractor : str
        The extractor; the value of ``PROBEKIT_HEAR`` by default.
    weights : sequence of str
        ``NAME=PATH`` or ``NAME=random:SEED``; the value of ``PROBEKIT_HEAR_WEIGHTS`` by default.
    window, hop : float > 0
        For streams with one vector a clip, in seconds: timestamp embeddings are those of windows
        around every multiple of ``hop``.

    Returns
    -------
    Model
        A torch module. Scene embeddings come from the named stream, or the extractor's default
        one, pooled over time as named (mean by default); timestamp embeddings from the same stream,
        or if that has one vector a clip, from the extractor's first stream of frames.

    Raises
    ------
    ProbekitError
        If no extractor is named, or its sample rate is none of HEAR's.
    """
    selector, card = _select_extractor(model_file_path, extractor)
    overrides = _overrides(weights)
    if Path(model_file_path).is_file():
        overrides[f"{card.name}.main"] = model_file_path
    if min(window, hop) * card.sample_rate < 1:
        raise ProbekitError(
            f"window and hop must be at least one sample, got window={window} s and hop={hop} s"
        )
    scene = selector.stream or card.default_stream
    frames = [name for name, stream in card.streams.items() if stream.kind == "frames"]
    timestamps = scene if scene in frames else next(iter(frames), scene)
    spec = load.resolve_spec(str(selector), weights=overrides, streams=[scene, timestamps])
    return Model(spec, scene, timestamps, selector.pool, window, hop)


def get_scene_embeddings(audio: Tensor, model: Model) -> Tensor:
    """Embed clips, one vector each.

    Parameters
    ----------
    audio : Tensor, shape (clips, samples), samples >= 1
        Mono, in [-1, 1], at the model's sample rate.
    model : Model
        From :func:`load_model`.

    Returns
    -------
    Tensor, shape (clips, scene_embedding_size), float32
        The same as in a cache of probekit for these clips, on the device of ``audio``.

    Raises
    ------
    ProbekitError
        If the audio is not of that shape.
    """
    _check(audio)
    embeddings = [clip[model.scene] for clip in model.extractor(list(audio))]
    if model.extractor.streams[model.scene].kind == "frames":
        embeddings = [_pool(frames, model.pool) for frames in embeddings]
    return torch.stack(embeddings).to(audio.device)


def get_timestamp_embeddings(audio: Tensor, model: Model) -> tuple[Tensor, Tensor]:
    """Embed clips over time.

    Parameters
    ----------
    audio : Tensor, shape (clips, samples), samples >= 1
        Mono, in [-1, 1], at the model's sample rate.
    model : Model
        From :func:`load_model`.

    Returns
    -------
    embeddings : Tensor, shape (clips, time, timestamp_embedding_size), float32
        The first frame, and all others with their center in the clip.
    timestamps : Tensor, shape (clips, time), float32
        Centers in ms on the stream's grid; at most the clip's length for a single frame.

    Raises
    ------
    ProbekitError
        If the audio is not of that shape.
    """
    _check(audio)
    if model.by_windows:
        frames, times = _embed_windows(audio, model)
    else:
        clips = model.extractor(list(audio))
        frames = torch.stack([clip[model.timestamps] for clip in clips])
        grid = model.extractor.streams[model.timestamps]
        assert grid.hop is not None and grid.first_center is not None
        steps = torch.arange(frames.shape[1], dtype=torch.float64)
        times = 1000 * (float(grid.first_center) + float(grid.hop) * steps)
    end = 1000 * audio.shape[1] / model.sample_rate
    count = max(1, int((times <= end).sum()))
    times = times[:count].clamp(max=end).float().expand(len(audio), -1)
    return frames[:, :count].to(audio.device), times.to(audio.device)


def _embed_windows(audio: Tensor, model: Model) -> tuple[Tensor, Tensor]:
    """Embed windows around the multiples of the hop like clips."""
    clips, samples = audio.shape
    count = 1 + (samples - 1) // model.hop
    before = model.window // 2
    after = max(0, (count - 1) * model.hop + model.window - before - samples)
    windows = nn.functional.pad(audio, (before, after)).unfold(1, model.window, model.hop)
    outputs = model.extractor([window for clip in windows[:, :count] for window in clip])
    frames = torch.stack([output[model.timestamps] for output in outputs])
    times = torch.arange(count, dtype=torch.float64) * (1000 * model.hop / model.sample_rate)
    return frames.unflatten(0, (clips, count)), times


def _select_extractor(path: str, extractor: str) -> tuple[EmbeddingSelector, cards.ExtractorCard]:
    """Return the selector of the extractor, and its card."""
    name = path if path and not Path(path).is_file() else ""
    text = extractor or name or os.environ.get("PROBEKIT_HEAR", "")
    if not text:
        raise ProbekitError(
            "no extractor named for the HEAR model. Set PROBEKIT_HEAR, or pass a name such as "
            "vggish in place of the model's path"
        )
    selector = parse_selector(text)
    card = cards.load_extractor_card(selector.name)
    if selector.layer:
        raise ProbekitError(f"{text}: a HEAR model has one stream; write stream= for layer=")
    if card.sample_rate not in RATES:
        raise ProbekitError(
            f"sample rate of a HEAR model must be one of {', '.join(map(str, RATES))} Hz, got "
            f"{card.sample_rate} Hz of {card.name}"
        )
    for pooling in selector.pool:
        if pooling not in POOLINGS:
            raise unknown_name_error("pooling", pooling, POOLINGS)
    return selector, card


def _overrides(weights: Sequence[str]) -> dict[str, str]:
    """Return the weights from the argument or the environment."""
    from_environment = filter(None, os.environ.get("PROBEKIT_HEAR_WEIGHTS", "").split(","))
    return parse_overrides(list(weights) or list(from_environment))


def _pool(frames: Tensor, poolings: Sequence[str]) -> Tensor:
    """Return one vector for the frames of a clip, pooled as in the cache."""
    values = frames.cpu().numpy()
    return torch.cat([torch.from_numpy(POOLINGS[name](values)).float() for name in poolings])


def _check(audio: Tensor) -> None:
    if audio.ndim != 2 or not audio.shape[1]:
        raise ProbekitError(
            f"audio must have the shape (clips, samples), samples >= 1, got {tuple(audio.shape)}"
        )
