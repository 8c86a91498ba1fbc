"""The HEAR API (hearbenchmark.com/hear-api.html), with checked calls to a module that offers it.

A module has the functions ``load_model(path)``, ``get_scene_embeddings(audio, model)`` and
``get_timestamp_embeddings(audio, model)``; its model has the attributes ``sample_rate``,
``scene_embedding_size`` and ``timestamp_embedding_size``. Audio is (clips, samples), mono, at the
model's rate; embeddings are (clips, dim) and (clips, time, dim), float32; timestamps (clips, time)
are the centers of frames in milliseconds, regular to 1 ms, none past the end.
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
    """Functions of a module; their results are checked against the API in each call.

    Parameters
    ----------
    name : str
        The module's import name.

    Raises
    ------
    ProbekitError
        If it cannot be imported or lacks a function; later, if a result violates the API. Names
        the module and what is wrong.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = self._import()
        missing = [f for f in FUNCTIONS if not callable(getattr(self.module, f, None))]
        if missing:
            raise self.make_error(
                f"has no {' and no '.join(missing)}: not a module of the HEAR API"
            )

    def make_error(self, fault: str) -> ProbekitError:
        """Return an error with the module's name."""
        return ProbekitError(f"{HEAR}:{self.name}: {fault}")

    def _import(self) -> ModuleType:
        try:
            return import_module(self.name)
        except ModuleNotFoundError as error:
            if error.name and f"{self.name}.".startswith(f"{error.name}."):
                raise self.make_error(
                    f"module {error.name} not found; install it, or add its folder to PYTHONPATH"
                ) from error
            raise self.make_error(f"needs {error.name}, which is not installed") from error
        except Exception as error:
            raise self.make_error(f"cannot be imported: {type(error).__name__}: {error}") from error

    def _call(self, function: str, *args: Any) -> Any:
        try:
            return getattr(self.module, function)(*args)
        except Exception as error:
            shape = f" on audio of shape {tuple(args[0].shape)}" if len(args) == 2 else ""
            raise self.make_error(f"{function}{shape}: {type(error).__name__}: {error}") from error

    def load(self, path: Path | None) -> Any:
        """Load a model, in evaluation mode if it is a torch module."""
        model = self._call("load_model", *([str(path)] if path else []))
        if isinstance(model, nn.Module):
            model.eval().requires_grad_(False).to("cpu")
        for attribute in ATTRIBUTES:
            self._positive_int(model, attribute)
        return model

    def sample_rate(self, model: Any) -> int:
        """Return the sample rate of the model in Hz."""
        return self._positive_int(model, "sample_rate")

    def size(self, model: Any, kind: str) -> int:
        """Return the length of the embeddings of a kind, ``scene`` or ``timestamp``."""
        return self._positive_int(model, f"{kind}_embedding_size")

    def _positive_int(self, model: Any, attribute: str) -> int:
        value: Any = getattr(model, attribute, None)
        try:
            number = operator.index(value)
        except TypeError:
            number = 0
        if number < 1:
            raise self.make_error(f"{attribute} of its model must be an integer > 0, got {value!r}")
        return number

    def scene(self, model: Any, audio: Tensor) -> Tensor:
        """Return one vector a clip, shape (clips, dim)."""
        embeddings = self._call("get_scene_embeddings", audio, model)
        shape = (len(audio), self.size(model, "scene"))
        return self._check_output("get_scene_embeddings", embeddings, shape)

    def timestamps(self, model: Any, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames, shape (clips, time, dim), and their centers in ms, shape (clips, time)."""
        function = "get_timestamp_embeddings"
        result = self._call(function, audio, model)
        if not (isinstance(result, tuple | list) and len(result) == 2):
            raise self.make_error(f"{function} must return a pair of embeddings and timestamps")
        frames, times = result
        steps = frames.shape[1] if isinstance(frames, Tensor) and frames.ndim == 3 else "time"
        shape = (len(audio), steps, self.size(model, "timestamp"))
        frames = self._check_output(function, frames, shape)
        if not isinstance(times, Tensor) or times.shape != frames.shape[:2] or not times.shape[1]:
            shape_text = tuple(times.shape) if isinstance(times, Tensor) else type(times).__name__
            raise self.make_error(
                f"{function} must return timestamps of shape {tuple(frames.shape[:2])}, one a "
                f"frame, got {shape_text}"
            )
        times = times.double().cpu()
        milliseconds = 1000 * audio.shape[1] / self.sample_rate(model)
        # the center of the only frame of a short clip may be past its end
        if (times[:, 1:] > milliseconds + TOLERANCE_MS).any() or (times < 0).any():
            raise self.make_error(
                f"{function} must return timestamps from 0 to {milliseconds:.0f} ms, the length of "
                f"the audio, got {times.min():.0f} to {times.max():.0f}; are they milliseconds?"
            )
        hops = times.diff(dim=1)
        if hops.numel() and ((hops - hops.mean()).abs().max() > TOLERANCE_MS or hops.min() <= 0):
            raise self.make_error(
                f"{function} must return regular timestamps, got {hops.min():.2f} to "
                f"{hops.max():.2f} ms from one to the next"
            )
        return frames, times

    def _check_output(self, function: str, output: Any, shape: Sequence[int | str]) -> Tensor:
        if not isinstance(output, Tensor):
            raise self.make_error(
                f"{function} must return a torch tensor, got {type(output).__name__}"
            )
        if tuple(output.shape) != tuple(shape):
            expected = ", ".join(map(str, shape))
            raise self.make_error(
                f"{function} must return shape ({expected}), got {tuple(output.shape)}"
            )
        if output.dtype != torch.float32 and not torch.is_autocast_enabled(output.device.type):
            raise self.make_error(f"{function} must return torch.float32, got {output.dtype}")
        return output
