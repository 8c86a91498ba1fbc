"""Table II of hung2022."""

import pytest
import torch

from probekit.distillation import parameter_count
from probekit.errors import ProbekitError, UnknownNameError

PRINTED = {  # training, then inference: VGGish, OpenL3, both
    "feature-only": ("38k 136k 169k", "72.2M 4.8M 77.0M"),
    "concat": ("3.7M 3.8M 3.8M", "75.8M 8.4M 80.6M"),
    "film": ("3.7M 3.9M 4.0M", "75.8M 8.6M 80.8M"),
    "con-reg": ("3.7M 3.8M 3.8M", "3.6M 3.6M 3.6M"),
    "dis-reg": ("3.6M 3.6M 3.6M", "3.6M 3.6M 3.6M"),
}


def test_table_two():
    found = parameter_count.parameter_table()
    assert len(found) == 15
    for method, (training, inference) in PRINTED.items():
        rows = [row for row in found if row.method == method]
        assert " ".join(parameter_count.format_count(row.training) for row in rows) == training
        assert " ".join(parameter_count.format_count(row.inference) for row in rows) == inference


def test_by_hand():
    # with 17 classes: 3,631,551 parameters with 50, of which 257 a class
    alone = 3_631_551 - 33 * 257
    assert parameter_count.count_method("none") == parameter_count.ParameterCount(
        "none", (), alone, alone
    )
    (vggish,) = parameter_count.TEACHERS["VGG"]
    assert parameter_count.count_teacher(vggish) == (128, 72_141_184 + 128 * 128 + 128)
    assert parameter_count.count_teacher("vggish") == (128, 72_141_184)
    (openl3,) = parameter_count.TEACHERS["L3"]
    assert parameter_count.count_teacher(openl3) == (512, 4_687_042)
    both = parameter_count.count_method("film", [vggish, openl3])
    assert both.training == alone + 2 * (640 * 256 + 256)
    assert both.inference == both.training + 72_141_184 + 128 * 129 + 4_687_042
    assert parameter_count.count_method("con-reg", ["vggish"]).training == alone + 128 * 256 + 256


def test_other_students_and_teachers():
    row = parameter_count.count_method("concat", ["mfcc"], "short-chunk:width=4", classes=3)
    assert row.inference == row.training  # the teacher has no parameters
    assert (
        row.training
        > parameter_count.count_method("none", [], "short-chunk:width=4", classes=3).training
    )


def test_counting_draws_no_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    parameter_count.count_teacher.cache_clear()
    parameter_count.count_method("con-reg", ["openl3:size=512"], "short-chunk")
    assert torch.equal(torch.rand(1), expected)


def test_wrong_names():
    with pytest.raises(UnknownNameError, match="stream of vggish"):
        parameter_count.count_method("con-reg", ["vggish:stream=pca9"])
    with pytest.raises(UnknownNameError, match="regularizer"):
        parameter_count.count_method("con", ["vggish"])
    with pytest.raises(ProbekitError, match="needs a teacher"):
        parameter_count.count_method("film")


def test_short():
    assert [parameter_count.format_count(n) for n in (0, 37_905, 999_000, 3_655_838)] == [
        "0k", "38k", "999k", "3.7M",
    ]  # fmt: skip
