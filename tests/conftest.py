"""What all tests share: an environment without network and without the user's settings, and a real kernel."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test imports a library that reads them; kernels and servers started by tests inherit them.
os.environ.update(
    GPT_MAGIC_CACHE=str(Path(tempfile.gettempdir()) / f"gpt_magic_tests{os.environ.get('PYTEST_XDIST_WORKER', '')}"),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",  # tiny models: two threads that share busy cores wait for each other, up to ten times slower
    JUPYTER_PLATFORM_DIRS="1",
)
from tests.kernel import Kernel


def pytest_xdist_auto_num_workers() -> int:
    """Of ``-n auto``: one a processor, but no more than four, as each holds torch and starts kernels and browsers."""
    return min(os.cpu_count() or 1, 4)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A real ipykernel, one for all tests of a module."""
    with Kernel() as running:
        yield running
