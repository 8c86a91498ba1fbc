"""Stand-in data of one dataset, for the module that tests it."""

import shutil

import pytest

from probekit.tasks.task import load_task


@pytest.fixture(scope="module")
def standin(request, tmp_path_factory):
    """Stand-in data of the module's ``STANDIN`` (task, clips); tests must not change it."""
    task, clips = request.module.STANDIN
    root = tmp_path_factory.mktemp("standin") / task
    load_task(task).write_standin(root, clips)
    return root


@pytest.fixture
def editable_standin(standin, tmp_path):
    """A copy of the stand-in data that a test may change."""
    return shutil.copytree(standin, tmp_path / "editable")
