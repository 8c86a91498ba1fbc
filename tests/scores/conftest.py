"""The results store, by a short name."""

import pytest


@pytest.fixture
def store(results_store):
    return results_store
