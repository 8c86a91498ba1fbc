"""The weighted key score of all pairs of keys against mir_eval 0.8."""

import pytest

from probekit.metrics.class_credits import KEYS, key_credit

pytestmark = pytest.mark.parity


def test_keys_get_what_mir_eval_gives():
    key = pytest.importorskip("mir_eval.key", reason="make parity installs mir_eval")
    for k, true in enumerate(KEYS):
        for j, predicted in enumerate(KEYS):
            expected = key.weighted_score(true, predicted)
            assert float(key_credit(k, j)) == expected, (true, predicted)
