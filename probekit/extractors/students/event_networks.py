"""TALNet and WEANet as networks that are trained here, of any width."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from probekit.audio.timegrid import FrameGrid
from probekit.errors import ProbekitError
from probekit.extractors.networks import talnet, weanet
from probekit.extractors.students.base import (
    FrameLayer,
    LevelGrid,
    Student,
    set_band_statistics,
)
from probekit.extractors.students.time_pooling import FrameClassifier, check_pooling, pool_logits


class EventNetwork(Student):
    """A network with an output for each frame, on clips of any length."""

    rate = 16000
    crop = Fraction(10)
    any_length = True
    level_grid: LevelGrid
    log_mel: nn.Module

    def levels(self, waves: Tensor) -> Tensor:
        """Return log-mel spectra in dB, shape (clips, frames, 64), for waveforms."""
        spectra: Tensor = self.log_mel(waves)
        return spectra

    def frontend(self, waves: Tensor) -> Tensor:
        """Return normalized spectra for waveforms, or for stored spectra (clips, frames, 64)."""
        return self.normalize(self.levels(waves) if waves.ndim == 2 else waves)

    def normalize(self, levels: Tensor) -> Tensor:
        """Return the input of :meth:`embed` for spectra."""
        return levels

    def original_logits(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), by the pooling of its parameters."""
        logits, weights = self.frame_outputs(embedding)
        return pool_logits(logits, self.pooling, weights)

    def frame_outputs(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits of frames and, for attention, those of their weights."""
        raise NotImplementedError

    def frame_logits(self, embedding: Tensor) -> Tensor | None:
        """Return logits of frames, shape (clips, time, classes)."""
        return self.frame_outputs(embedding)[0]

    def decoder(self, features: int) -> FrameClassifier:
        """Return a linear layer on each frame with the same pooling."""
        return FrameClassifier(features, self.classes, self.pooling)


def _check(name: str, width: int, pooling: str) -> None:
    if width < 1:
        raise ProbekitError(f"network {name}: width must be >= 1, got {width}")
    check_pooling(pooling)


def _params(width: int, pooling: str, default: str) -> dict[str, Any]:
    """Return the parameters of a text: the pooling is one if it is not the network's own."""
    return {"width": width, **({"pooling": pooling} if pooling != default else {})}


class TALNetStudent(EventNetwork):
    """TALNet (Wang, Li and Metze, 2019); ten frames of ``32 · width`` numbers a second.

    Initial weights are the author's: Xavier's for convolutions and linear layers, orthogonal ones
    in the GRU, biases of both 0.
    """

    network: talnet.Network
    min_samples = talnet.MIN_SAMPLES
    classifier_prefix = "fc_prob."
    frontend_clips = 20_000

    def __init__(self, classes: int, width: int = 32, pooling: str = "linear-softmax") -> None:
        _check("talnet", width, pooling)
        params = _params(width, pooling, "linear-softmax")
        network = talnet.Network(classes, width)
        super().__init__("talnet", params, classes, 32 * width, network)
        self.pooling = pooling
        self.normalizer = talnet.Normalizer()
        self.log_mel = talnet.LogMelLevels()
        self.attention = nn.Linear(self.dim, classes) if pooling == "attention" else None
        self.level_grid = LevelGrid("talnet log-mel 1", talnet.HOP_LENGTH, 0, 64)
        self._initialize()

    def _initialize(self) -> None:
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        for name, parameter in self.network.gru.named_parameters():
            (nn.init.zeros_ if "bias" in name else nn.init.orthogonal_)(parameter)
        nn.init.zeros_(self.network.fc_prob.bias)

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return ten frames a second, each of four spectra."""
        self.check_length(samples)
        grid = FrameGrid(Fraction(1, 10), Fraction(3, 80), Fraction(139, 1000))
        return grid, samples // talnet.HOP_LENGTH // 2 // 2

    def normalize(self, levels: Tensor) -> Tensor:
        """Return spectra within 80 dB of the loudest, standardized by band."""
        normalized: Tensor = self.normalizer(talnet.limit_range(levels))
        return normalized

    def fit_frontend(self, waves: Iterable[Tensor]) -> None:
        """Set mean and standard deviation of each mel band to those of crops."""
        spectra = (self.levels(batch) if batch.ndim == 2 else batch for batch in waves)
        set_band_statistics(
            map(talnet.limit_range, spectra), self.normalizer.mu, self.normalizer.sigma
        )

    def embed(self, features: Tensor) -> Tensor:
        """Return the GRU's output, shape (clips, time, 32 · width)."""
        steps: Tensor = self.network(features)
        return steps

    def frame_outputs(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits of frames and, for attention, those of their weights."""
        weights = None if self.attention is None else self.attention(embedding)
        return self.network.fc_prob(embedding), weights

    def official_weights(self) -> tuple[str, dict[str, Any], tuple[str, ...]] | None:
        """Return TALNet.pt with its normalizer, if size and pooling are the author's."""
        if self.params != {"width": 32} or self.head is not None:
            return None
        content = {"model": _to_cpu(self.network), "normalizer": _to_cpu(self.normalizer)}
        return "TALNet.pt", content, ("normalizer",)

    def remove_classifier(self) -> None:
        """Remove the linear layers."""
        self.network.fc_prob = nn.Identity()  # type: ignore[assignment]
        self.attention = None

    def frame_classifier(self) -> FrameLayer:
        """Return the layer of the classes, which reads the embedding."""
        last, attention = self.network.fc_prob, self.attention
        weights = None if attention is None else (attention.weight, attention.bias)
        return FrameLayer(last.weight, last.bias, attention=weights)


class WEANetStudent(EventNetwork):
    """WEANet as :mod:`probekit.extractors.networks.weanet` has it; 6.25 frames a second."""

    network: weanet.Network
    min_samples = weanet.MIN_SAMPLES
    classifier_prefix = "b8."

    def __init__(self, classes: int, width: int = 64, pooling: str = "attention") -> None:
        _check("weanet", width, pooling)
        params = _params(width, pooling, "attention")
        network = weanet.Network(classes, width)
        super().__init__("weanet", params, classes, 32 * width, network)
        self.pooling = pooling
        self.log_mel = weanet.log_mel()
        self.level_grid = LevelGrid("weanet log-mel 1", weanet.HOP_LENGTH, 1, 64)
        if pooling != "attention":
            network.attention.requires_grad_(False)  # is not used

    def frames(self, samples: int) -> tuple[FrameGrid, int]:
        """Return a frame every 0.16 s, each of 16 spectra."""
        self.check_length(samples)
        grid = FrameGrid(Fraction(4, 25), Fraction(3, 40), Fraction(7, 40))
        return grid, (1 + samples // weanet.HOP_LENGTH) // 16

    def embed(self, features: Tensor) -> Tensor:
        """Return the output of B5, shape (clips, time, 32 · width)."""
        steps: Tensor = self.network(features)
        return steps

    def frame_outputs(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits of frames, and those of their weights."""
        logits, weights = self.network.segment_logits(embedding)
        return logits, weights if self.pooling == "attention" else None

    def frame_classifier(self) -> FrameLayer:
        """Return B8, which reads the output of B7."""
        last, attention = self.network.b8, self.network.attention
        assert last.bias is not None and attention.bias is not None
        weights = (attention.weight.flatten(1), attention.bias)
        return FrameLayer(
            last.weight.flatten(1),
            last.bias,
            self.network.hidden,
            weights if self.pooling == "attention" else None,
        )

    def official_weights(self) -> tuple[str, dict[str, Any], tuple[str, ...]] | None:
        """Return weanet.pth, if size and pooling are those of the extractor."""
        if self.params != {"width": 64} or self.head is not None:
            return None
        return "weanet.pth", _to_cpu(self.network), ()

    def remove_classifier(self) -> None:
        """Remove B6 to B8 and the attention."""
        for name in ("b6", "b7", "b8", "attention"):
            setattr(self.network, name, nn.Identity())


def _to_cpu(module: nn.Module) -> dict[str, Tensor]:
    state = module.state_dict().items()
    return {key: value.detach().cpu().contiguous() for key, value in state}
