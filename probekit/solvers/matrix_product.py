"""Matrix products in float32 on a CPU, by oneDNN.

torch's own go to MKL, which uses half of the vector units of processors that are not Intel's: there
oneDNN, which torch has for its convolutions, takes half the time. It compiles code for each new
shape, so that it is for large matrices of shapes that come again and again.
"""

import torch
from torch import Tensor

_MIN_SIZE = 300_000  # values of the right matrix up to which compiling costs as much as it saves


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right.T``.

    Parameters
    ----------
    left, right : Tensor, shapes (n, k) and (m, k)
        Of the same type and device.

    Returns
    -------
    Tensor, shape (n, m)
        Rounded as a sum of float32 products may be; computed by ``@`` in another type, on another
        device, for small matrices, or where torch has no oneDNN.
    """
    known = left.dtype == torch.float32 and left.device.type == "cpu" and left.numel() > 0
    if not (known and right.numel() >= _MIN_SIZE and _has_onednn()):
        return left @ right.T
    product: Tensor = torch.ops.mkldnn._linear_pointwise(
        _dense(left), _dense(right), None, "none", [], ""
    )
    return product


def _dense(matrix: Tensor) -> Tensor:
    """Return the matrix without gaps: for others oneDNN is slower by a factor of hundreds."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def _has_onednn() -> bool:
    """Tell whether torch has oneDNN and this operation, which its compiler uses."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
