"""Fixtures: one installation for all tests that do not break it."""
import os
import tempfile

import pytest
from installation import Installation


@pytest.fixture(scope="session")
def shared_installation():
    with tempfile.TemporaryDirectory(prefix="ostiary-", ignore_cleanup_errors=True) as folder:
        installation = Installation(folder)
        try:
            installation.start()
            yield installation
        finally:
            if os.environ.get("OSTIARY_KEEP_LOGS"):
                for name in ("control", "proxy"):
                    print(f"--- {name}\n{installation.log(name)}")
            installation.close()


@pytest.fixture
def ostiary(shared_installation):
    return shared_installation


@pytest.fixture
def alice(ostiary):
    return ostiary.token("alice", "lab")
