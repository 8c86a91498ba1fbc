"""The HEAR API (hearbenchmark.com/hear-api.html): what a module must offer, and whether it does.

A module has the functions ``load_model(path)``, ``get_scene_embeddings(audio, model)`` and
``get_timestamp_embeddings(audio, model)``; its model has the attributes ``sample_rate``,
``scene_embedding_size`` and ``timestamp_embedding_size``. Audio is (clips, samples), mono, at the
model's rate; embeddings are (clips, dim) and (clips, time, dim), float32; timestamps (clips, time)
are the middles of frames in milliseconds, regular to 1 ms, none past the end.
"""

import operator
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from probekit.cards.selector import HEAR
from probekit.errors import ProbekitError

RATES = (16000, 22050, 32000, 44100, 48000)
FUNCTIONS = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")
ATTRIBUTES = ("sample_rate", "scene_embedding_size", "timestamp_embedding_size")
TOLERANCE_MS = 1.0  # by which timestamps may be irregular
EXACT_MS = 1e-3  # by which timestamps in float32 differ from those of a regular grid


class HearLibrary:
    """A module's functions, whose results are checked against the API each time.

    Parameters
    ----------
    name : str
        The module's import name.

    Raises
    ------
    ProbekitError
        If it cannot be imported, or lacks a function; later, if it does not keep to the API. Names
        the module and what is wrong.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = self._import()
        lacking = [f for f in FUNCTIONS if not callable(getattr(self.module, f, None))]
        if lacking:
            raise self.make_error(
                f"has no {' and no '.join(lacking)}: not a module of the HEAR API"
            )

    def make_error(self, what: str) -> ProbekitError:
        """Return the error that says what is wrong with the module."""
        return ProbekitError(f"{HEAR}:{self.name}: {what}")

    def _import(self) -> ModuleType:
        try:
            return import_module(self.name)
        except ModuleNotFoundError as error:
            if error.name and f"{self.name}.".startswith(f"{error.name}."):
                raise self.make_error(
                    f"there is no module {error.name}; install it, or name its folder in PYTHONPATH"
                ) from error
            raise self.make_error(f"needs {error.name}, which is not installed") from error
        except Exception as error:
            raise self.make_error(f"cannot be imported: {type(error).__name__}: {error}") from error

    def _call(self, function: str, *given: Any) -> Any:
        try:
            return getattr(self.module, function)(*given)
        except Exception as error:
            shape = f" on audio of shape {tuple(given[0].shape)}" if len(given) == 2 else ""
            raise self.make_error(f"{function}{shape}: {type(error).__name__}: {error}") from error

    def load(self, path: Path | None) -> Any:
        """Return a new model, in evaluation mode if it knows of one."""
        model = self._call("load_model", *([str(path)] if path else []))
        if isinstance(model, nn.Module):
            model.eval().requires_grad_(False).to("cpu")
        for attribute in ATTRIBUTES:
            self._whole(model, attribute)
        return model

    def rate(self, model: Any) -> int:
        """Return the sample rate that the model expects."""
        return self._whole(model, "sample_rate")

    def size(self, model: Any, kind: str) -> int:
        """Return the length of its embeddings; ``kind`` is ``scene`` or ``timestamp``."""
        return self._whole(model, f"{kind}_embedding_size")

    def _whole(self, model: Any, attribute: str) -> int:
        value: Any = getattr(model, attribute, None)
        try:
            number = operator.index(value)
        except TypeError:
            number = 0
        if number < 1:
            raise self.make_error(
                f"{attribute} of its model is {value!r}, not a whole number above 0"
            )
        return number

    def scene(self, model: Any, audio: Tensor) -> Tensor:
        """Return one vector a clip, shape (clips, dim)."""
        found = self._call("get_scene_embeddings", audio, model)
        shape = (len(audio), self.size(model, "scene"))
        return self._checked("get_scene_embeddings", found, shape)

    def timestamps(self, model: Any, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames, shape (clips, time, dim), and their places in ms, shape (clips, time)."""
        function = "get_timestamp_embeddings"
        both = self._call(function, audio, model)
        if not (isinstance(both, tuple | list) and len(both) == 2):
            raise self.make_error(f"{function} returned no pair of embeddings and timestamps")
        frames, times = both
        steps = frames.shape[1] if isinstance(frames, Tensor) and frames.ndim == 3 else "time"
        shape = (len(audio), steps, self.size(model, "timestamp"))
        frames = self._checked(function, frames, shape)
        if not isinstance(times, Tensor) or times.shape != frames.shape[:2] or not times.shape[1]:
            given = tuple(times.shape) if isinstance(times, Tensor) else type(times).__name__
            raise self.make_error(
                f"{function} returned timestamps of shape {given} for embeddings of shape "
                f"{tuple(frames.shape)}"
            )
        times = times.double().cpu()
        milliseconds = 1000 * audio.shape[1] / self.rate(model)
        # a clip shorter than a window may have its one frame's middle behind its end
        if (times[:, 1:] > milliseconds + TOLERANCE_MS).any() or (times < 0).any():
            raise self.make_error(
                f"{function} returned timestamps from {times.min():.0f} to {times.max():.0f} ms "
                f"for audio of {milliseconds:.0f} ms; are they milliseconds?"
            )
        hops = times.diff(dim=1)
        if hops.numel() and ((hops - hops.mean()).abs().max() > TOLERANCE_MS or hops.min() <= 0):
            raise self.make_error(
                f"{function} returned timestamps that are not regular: {hops.min():.2f} to "
                f"{hops.max():.2f} ms from one to the next"
            )
        return frames, times

    def _checked(self, function: str, found: Any, shape: Sequence[int | str]) -> Tensor:
        if not isinstance(found, Tensor):
            raise self.make_error(
                f"{function} returned {type(found).__name__}; only torch is supported"
            )
        if tuple(found.shape) != tuple(shape):
            wanted = ", ".join(map(str, shape))
            raise self.make_error(f"{function} returned shape {tuple(found.shape)}, not ({wanted})")
        if found.dtype != torch.float32 and not torch.is_autocast_enabled(found.device.type):
            raise self.make_error(f"{function} returned {found.dtype}, not torch.float32")
        return found
