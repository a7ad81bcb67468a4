"""What every test stands on: one thread a process, no network, the data set folder, a browser, Hypothesis profiles."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

# Before anything imports torch or tokenizers: tests run side by side, so each process keeps to one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
# Collections that are read from files are kept in a folder of this process, which goes with it.
os.environ["INSTIL_CACHE"] = tempfile.mkdtemp(prefix="instil-cache-")
# A shell starts what it puts in the background deaf to Ctrl-C, and so would be the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest

atexit.register(shutil.rmtree, os.environ["INSTIL_CACHE"], ignore_errors=True)

ROOT = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("quick", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("soak" if os.environ.get("INSTIL_SOAK") else "quick")


def absent(what: str) -> None:
    """Skip the test with a reason; where CI=true nothing may be skipped, so fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI=true allows no skip")
    pytest.skip(what)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real task files: $INSTIL_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("INSTIL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        absent(f"no task files at {folder} (set INSTIL_DATA to their folder)")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        absent("no Chromium here (make setup-system)")
    assert found is not None
    return found
