"""A torch module of the user as a student."""

from fractions import Fraction
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from probekit.audio.timegrid import FrameGrid
from probekit.errors import ProbekitError
from probekit.extractors.students.base import Student


class TorchModuleStudent(Student):
    """A torch module of the user as a student.

    Its ``encode`` returns (clips, dim) or (clips, time, dim). Frames divide the crop evenly, unless
    it has ``frames(samples)``, which returns hop, first center and window in seconds, and the
    number of frames. Methods that feed a teacher's features to the decoder need
    ``decoder(features)``, which returns a new decoder.

    Parameters
    ----------
    name : str
        ``module:Class``.
    params : dict
        Its arguments besides ``classes``.
    classes : int >= 1
        Number of outputs.
    network : torch.nn.Module
        The module.
    """

    def __init__(self, name: str, params: dict[str, Any], classes: int, network: nn.Module) -> None:
        rate, crop = network.rate, network.crop
        super().__init__(name, params, classes, 1, network)
        try:
            self.rate, self.crop = int(rate), Fraction(str(crop))  # type: ignore[arg-type]
        except ValueError as error:
            raise ProbekitError(
                f"student {name}: rate must be in Hz and crop in seconds, got {rate!r} and {crop!r}"
            ) from error
        if self.rate < 1 or self.crop * self.rate < 1:
            raise ProbekitError(
                f"student {name}: rate must be >= 1 Hz and crop >= 1 sample, got {rate!r} and "
                f"{crop!r}"
            )
        self._steps: dict[int, int] = {}
        self._probe_output(int(self.crop * self.rate))

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return frames that divide the crop evenly, or the module's own."""
        frames: Any = getattr(self.network, "frames", None)
        steps = self._probe_output(samples)
        if frames is None:
            hop = Fraction(samples, self.rate) / steps
            return FrameGrid(hop, hop / 2, hop), steps
        try:
            *times, count = frames(samples)
            grid = FrameGrid.parse(*times)
        except (TypeError, ValueError) as error:
            raise ProbekitError(
                f"student {self.name}: frames({samples}) must return hop, first_center, window and "
                f"the number of frames ({error})"
            ) from error
        if count != steps:
            raise ProbekitError(
                f"student {self.name}: frames({samples}) must return {steps} frames as encode "
                f"does, got {count}"
            )
        return grid, steps

    def _probe_output(self, samples: int) -> int:
        """Encode silence, and return the number of frames; sets ``dim``."""
        if samples in self._steps:
            return self._steps[samples]
        training = self.network.training
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        try:
            with torch.no_grad():
                embedding = self.network.eval().encode(torch.zeros(2, samples, device=device))  # type: ignore[operator]
        except (RuntimeError, ValueError, IndexError) as error:
            raise ProbekitError(
                f"student {self.name}: encode fails on 2 crops of {samples} samples: {error}"
            ) from error
        finally:
            self.network.train(training)
        is_tensor = isinstance(embedding, Tensor)
        if not is_tensor or embedding.ndim not in (2, 3) or len(embedding) != 2:
            shape = tuple(embedding.shape) if is_tensor else type(embedding).__name__
            raise ProbekitError(
                f"student {self.name}: encode must return (crops, dim) or (crops, time, dim), got "
                f"{shape} for 2 crops"
            )
        self.dim, self._flat = embedding.shape[-1], embedding.ndim == 2
        self._steps[samples] = 1 if self._flat else embedding.shape[1]
        return self._steps[samples]

    def embed(self, features: Tensor) -> Tensor:
        """Call the module's ``encode``."""
        embedding: Tensor = self.network.encode(features)  # type: ignore[operator]
        return embedding[:, None] if self._flat else embedding

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Call the module's ``decode``."""
        logits: Tensor = self.network.decode(embedding[:, 0] if self._flat else embedding)  # type: ignore[operator]
        return logits

    def decoder(self, features: int) -> nn.Module:
        """Call the module's ``decoder``."""
        make_decoder: Any = getattr(self.network, "decoder", None)
        if not callable(make_decoder) or isinstance(make_decoder, nn.Module):
            raise ProbekitError(
                f"student {self.name}: has no method decoder(features), which returns a new "
                "decoder for frames of that length; feature-only and concat need it"
            )
        decoder: nn.Module = make_decoder(features)
        return decoder

    def remove_classifier(self) -> None:
        """Freeze the parameters that the encoder does not use; the module keeps its layers."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        device = parameters[0].device if parameters else torch.device("cpu")
        silence = torch.zeros(2, int(self.crop * self.rate), device=device)
        with torch.enable_grad():
            total = self.embed(silence).sum()
            if not total.requires_grad:
                return
            grads = torch.autograd.grad(total, parameters, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.requires_grad_(grad is not None)


def build_torch_student(name: str, classes: int, params: dict[str, Any]) -> TorchModuleStudent:
    """Import ``module:Class``, build it as ``Class(classes=…, **params)``, and try it on silence.

    Raises ``ProbekitError`` if it cannot be imported or built, or lacks a method.
    """
    module, _, attribute = name.partition(":")
    try:
        cls = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ProbekitError(
            f"student {name}: cannot be imported ({error}); write NAME or module:Class"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ProbekitError(f"student {name}: must be a subclass of torch.nn.Module")
    try:
        network = cls(classes=classes, **params)
    except TypeError as error:
        raise ProbekitError(
            f"student {name}: cannot be built with classes={classes}"
            f"{''.join(f', {key}={value!r}' for key, value in params.items())} ({error})"
        ) from error
    missing = [attribute for attribute in ("rate", "crop") if not hasattr(network, attribute)]
    methods = ("encode", "decode")
    missing += [method for method in methods if not callable(getattr(network, method, None))]
    if missing:
        raise ProbekitError(f"student {name}: has no {', '.join(missing)}")
    return TorchModuleStudent(name, params, classes, network)
