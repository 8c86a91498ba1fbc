"""A torch module of the user's as a student."""

from fractions import Fraction
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from probekit.errors import ProbekitError
from probekit.extractors.students.base import Student
from probekit.extractors.timegrid import FrameGrid


class TorchModuleStudent(Student):
    """A torch module of the user's.

    Its ``encode`` returns (clips, dim) or (clips, time, dim). Frames are taken to share the crop
    out evenly, unless it has ``frames(samples)``, which returns hop, first centre and window in
    seconds, and how many frames there are. It has to have ``decoder(features)``, a fresh decoder,
    to be used where a teacher's features go into the decoder.

    Parameters
    ----------
    name : str
        ``module:Class``.
    params : dict
        What it was made with.
    classes : int >= 1
        Outputs.
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
                f"student {name}: rate={rate!r}, crop={crop!r}; write Hz and seconds"
            ) from error
        if self.rate < 1 or self.crop * self.rate < 1:
            raise ProbekitError(f"student {name}: rate={rate!r}, crop={crop!r}: more is needed")
        self._steps: dict[int, int] = {}
        self._probe_output(int(self.crop * self.rate))

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return frames that share the crop out, or what the module says of them."""
        own: Any = getattr(self.network, "frames", None)
        steps = self._probe_output(samples)
        if own is None:
            hop = Fraction(samples, self.rate) / steps
            return FrameGrid(hop, hop / 2, hop), steps
        try:
            *times, said = own(samples)
            grid = FrameGrid.parse(*times)
        except (TypeError, ValueError) as error:
            raise ProbekitError(
                f"student {self.name}: frames({samples}) returns hop, first_center, window and "
                f"the number of frames ({error})"
            ) from error
        if said != steps:
            raise ProbekitError(
                f"student {self.name}: frames({samples}) says {said} frames, encode makes {steps}"
            )
        return grid, steps

    def _probe_output(self, samples: int) -> int:
        """Encode and decode silence; note the lengths of what comes out."""
        if samples in self._steps:
            return self._steps[samples]
        training = self.network.training
        where = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        try:
            with torch.no_grad():
                found = self.network.eval().encode(torch.zeros(2, samples, device=where))  # type: ignore[operator]
        except (RuntimeError, ValueError, IndexError) as error:
            raise ProbekitError(
                f"student {self.name}: encode fails on 2 crops of {samples} samples: {error}"
            ) from error
        finally:
            self.network.train(training)
        if not isinstance(found, Tensor) or found.ndim not in (2, 3) or len(found) != 2:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ProbekitError(
                f"student {self.name}: encode of 2 crops returns {got}; needed is (crops, dim) or "
                "(crops, time, dim)"
            )
        self.dim, self._flat = found.shape[-1], found.ndim == 2
        self._steps[samples] = 1 if self._flat else found.shape[1]
        return self._steps[samples]

    def embed(self, features: Tensor) -> Tensor:
        """Call the module's ``encode``."""
        found: Tensor = self.network.encode(features)  # type: ignore[operator]
        return found[:, None] if self._flat else found

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Call the module's ``decode``."""
        logits: Tensor = self.network.decode(embedding[:, 0] if self._flat else embedding)  # type: ignore[operator]
        return logits

    def decoder(self, features: int) -> nn.Module:
        """Call the module's ``decoder``."""
        make: Any = getattr(self.network, "decoder", None)
        if not callable(make) or isinstance(make, nn.Module):
            raise ProbekitError(
                f"student {self.name}: it has no method decoder(features), which returns a fresh "
                "decoder for frames of so many numbers; feature-only and concat need one"
            )
        found: nn.Module = make(features)
        return found

    def remove_classifier(self) -> None:
        """Freeze the parameters that the encoder does not use: the module's layers are its own."""
        named = [own for own in self.network.parameters() if own.requires_grad]
        samples = int(self.crop * self.rate)
        with torch.enable_grad():
            found = self.embed(torch.zeros(2, samples, device=named[0].device) if named else
                               torch.zeros(2, samples)).sum()  # fmt: skip
            if not found.requires_grad:
                return
            grads = torch.autograd.grad(found, named, allow_unused=True)
        for own, grad in zip(named, grads, strict=True):
            own.requires_grad_(grad is not None)


def build_torch_student(name: str, classes: int, params: dict[str, Any]) -> TorchModuleStudent:
    """Import a module of the user's and make a student of it.

    Parameters
    ----------
    name : str
        ``module:Class``.
    classes : int >= 1
        Outputs.
    params : dict of str to object
        What else it is made with.

    Returns
    -------
    Foreign
        Tried on silence.

    Raises
    ------
    ProbekitError
        If it cannot be imported or made, or lacks something.
    """
    module, _, attribute = name.partition(":")
    try:
        made = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ProbekitError(
            f"student {name}: cannot be imported ({error}); write NAME or module:Class"
        ) from error
    if not (isinstance(made, type) and issubclass(made, nn.Module)):
        raise ProbekitError(f"student {name}: not a class of torch modules")
    try:
        network = made(classes=classes, **params)
    except TypeError as error:
        raise ProbekitError(
            f"student {name}: cannot be made with classes={classes}"
            f"{''.join(f', {key}={value!r}' for key, value in params.items())} ({error})"
        ) from error
    missing = [word for word in ("rate", "crop") if not hasattr(network, word)]
    methods = ("encode", "decode")
    missing += [word for word in methods if not callable(getattr(network, word, None))]
    if missing:
        raise ProbekitError(f"student {name}: it has no {', '.join(missing)}")
    return TorchModuleStudent(name, params, classes, network)
