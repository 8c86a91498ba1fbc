"""Any extractor as a module of the HEAR API, for tools that evaluate such modules.

Such tools import a module by its name and give ``load_model`` nothing but a path. So the extractor
is named by the path, or in the environment::

    PROBEKIT_HEAR=vggish python -m heareval.embeddings.runner probekit.extractors.hear …

``PROBEKIT_HEAR_WEIGHTS`` may hold what ``--weights`` would, with commas between several:
``vggish=random:0``. The API is described in :mod:`probekit.extractors.adapters.hear_protocol`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from probekit import cards
from probekit.cards.selector import EmbeddingSelector, parse
from probekit.errors import ProbekitError
from probekit.extractors import load
from probekit.extractors.adapters.hear_protocol import RATES
from probekit.extractors.pooling import POOLINGS
from probekit.utils.suggest import unknown_name_error


class Model(nn.Module):
    """An extractor with the attributes that the HEAR API asks for.

    Parameters
    ----------
    spec : Spec
        The extractor, with the streams that are needed.
    scene : str
        The stream that scenes are made from.
    timestamps : str
        The stream that is given over time; one vector a clip is computed for windows.
    pool : sequence of str
        How frames become a scene.
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
        self.extractor = load.build(spec)
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
        An extractor as after ``-e`` (``"vggish:stream=prerelu"``); or the path of a file, the main
        weights of the extractor that is named otherwise.
    extractor : str
        The extractor; by default what ``PROBEKIT_HEAR`` holds.
    weights : sequence of str
        ``NAME=PATH`` or ``NAME=random:SEED``; by default what ``PROBEKIT_HEAR_WEIGHTS`` holds.
    window, hop : float > 0
        For streams that are one vector a clip: timestamps are embeddings of windows of so many
        seconds around every multiple of ``hop`` seconds.

    Returns
    -------
    Model
        A torch module. Scenes come from the stream that is named, or the extractor's default one,
        pooled over time as named (by default the mean); timestamps from the same stream, or if that
        is one vector a clip, from the extractor's first stream that is not.

    Raises
    ------
    ProbekitError
        If no extractor is named, or its sample rate is none of HEAR's.
    """
    selection, card = _chosen(model_file_path, extractor)
    overrides = _overrides(weights)
    if Path(model_file_path).is_file():
        overrides[f"{card.name}.main"] = model_file_path
    if min(window, hop) * card.sample_rate < 1:
        raise ProbekitError(f"window={window} s, hop={hop} s: they are at least one sample long")
    scene = selection.stream or card.default_stream
    frames = [name for name, stream in card.streams.items() if stream.kind == "frames"]
    timestamps = scene if scene in frames else next(iter(frames), scene)
    spec = load.resolve_spec(str(selection), weights=overrides, streams=[scene, timestamps])
    return Model(spec, scene, timestamps, selection.pool, window, hop)


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
        On the device of ``audio``; what the cache of probekit would hold for these clips.

    Raises
    ------
    ProbekitError
        If the audio is not of that shape.
    """
    _check(audio)
    found = [clip[model.scene] for clip in model.extractor(list(audio))]
    if model.extractor.streams[model.scene].kind == "frames":
        found = [_pooled(frames, model.pool) for frames in found]
    return torch.stack(found).to(audio.device)


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
        Frames whose middle is not past the end; the first one in any case.
    timestamps : Tensor, shape (clips, time), float32
        Their middles in ms, as the stream's grid says; of a single frame at most the clip's end.

    Raises
    ------
    ProbekitError
        If the audio is not of that shape.
    """
    _check(audio)
    if model.by_windows:
        frames, times = _windows(audio, model)
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


def _windows(audio: Tensor, model: Model) -> tuple[Tensor, Tensor]:
    """Embed windows around the multiples of the hop as if they were clips."""
    clips, samples = audio.shape
    count = 1 + (samples - 1) // model.hop
    before = model.window // 2
    after = max(0, (count - 1) * model.hop + model.window - before - samples)
    cut = nn.functional.pad(audio, (before, after)).unfold(1, model.window, model.hop)[:, :count]
    found = model.extractor([window for clip in cut for window in clip])
    frames = torch.stack([window[model.timestamps] for window in found])
    times = torch.arange(count, dtype=torch.float64) * (1000 * model.hop / model.sample_rate)
    return frames.unflatten(0, (clips, count)), times


def _chosen(path: str, extractor: str) -> tuple[EmbeddingSelector, cards.ExtractorCard]:
    """Return which extractor is meant, and its card."""
    named = path if path and not Path(path).is_file() else ""
    text = extractor or named or os.environ.get("PROBEKIT_HEAR", "")
    if not text:
        raise ProbekitError(
            "which extractor shall be the HEAR model? Name it in PROBEKIT_HEAR, or in place of the "
            "model's path; for example vggish"
        )
    selection = parse(text)
    card = cards.load_extractor_card(selection.name)
    if card.sample_rate not in RATES:
        raise ProbekitError(
            f"{card.name} takes {card.sample_rate} Hz; the HEAR API knows "
            f"{', '.join(map(str, RATES))} Hz only"
        )
    for way in selection.pool:
        if way not in POOLINGS:
            raise unknown_name_error("pooling", way, POOLINGS)
    return selection, card


def _overrides(weights: Sequence[str]) -> dict[str, str]:
    """Return the weights that the user named."""
    inherited = filter(None, os.environ.get("PROBEKIT_HEAR_WEIGHTS", "").split(","))
    return load.parse_overrides(list(weights) or list(inherited))


def _pooled(frames: Tensor, ways: Sequence[str]) -> Tensor:
    """Return one vector for a clip's frames, as the cache pools them."""
    values = frames.cpu().numpy()
    return torch.cat([torch.from_numpy(POOLINGS[way](values)).float() for way in ways])


def _check(audio: Tensor) -> None:
    if audio.ndim != 2 or not audio.shape[1]:
        raise ProbekitError(
            f"audio of shape {tuple(audio.shape)}; it must be (clips, samples), at least 1 sample"
        )
