"""Root mean square of windows: an extractor without weights, as a class."""

from torch import Tensor

from probekit.extractors.base import Outputs, WindowedExtractor


class RMS(WindowedExtractor):
    """Level of windows of 0.1 s, side by side, at 8,000 Hz."""

    window = hop = 800

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return the power of each window, shape (windows, 1)."""
        return pieces.square().mean(1, keepdim=True)

    def embed(self, features: Tensor) -> Outputs:
        """Return levels, shape (windows, 1)."""
        return {"level": features.sqrt()}
