"""Products by oneDNN are those of float64, up to float32's rounding."""

import pytest
import torch

from probekit.solvers import matrix_product
from probekit.solvers.matrix_product import multiply

SHAPES = [(5, 7, 3), (50, 700, 160), (1, 2000, 33), (0, 4, 3), (4, 0, 3), (4, 3, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("has_onednn", [True, False])
def test_product_is_that_of_float64(monkeypatch, shape, has_onednn):
    monkeypatch.setattr(matrix_product, "_MIN_SIZE", 1)
    if not has_onednn:
        monkeypatch.setattr(matrix_product, "_has_onednn", lambda: False)
    n, m, k = shape
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(n, k, generator=generator, dtype=torch.float64)
    right = torch.randn(m, k, generator=generator, dtype=torch.float64)
    exact = left.float().double() @ right.float().double().T
    for a in (left.float(), left.float().T.contiguous().T, left.float().repeat(1, 2)[:, :k]):
        for b in (right.float(), right.float().T.contiguous().T, right.float().repeat(1, 2)[:, :k]):
            product = multiply(a, b)
            assert product.dtype == torch.float32 and product.shape == (n, m)
            # k roundings of 6e-8 of numbers up to 4
            torch.testing.assert_close(product.double(), exact, rtol=0, atol=6e-8 * 16 * (k + 1))
    assert torch.equal(multiply(left, right), left @ right.T)  # float64 as torch computes it
