"""Commands of the experiments keep what they compile; who imports them decides."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = "import os; print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))\n"


@pytest.fixture
def checkout(tmp_path):
    """Of a package like ours whose command only shows where programs are kept."""
    package = tmp_path / "experiments"
    package.mkdir()
    shutil.copy(ROOT / "experiments" / "__init__.py", package)
    (package / "shown.py").write_text(SHOWN)
    return tmp_path


def shown(checkout, *command, **settings):
    """What a process says; none of the settings of these tests are in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    return subprocess.run(
        [sys.executable, *command],
        env={**kept, "PYTHONPATH": "", **settings},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_command_keeps_its_programs_in_an_ignored_folder(checkout):
    folder = shown(checkout, "-m", "experiments.shown")
    assert Path(folder) == checkout / ".cache" / "jax"
    assert ".cache/" in (ROOT / ".gitignore").read_text().split()


def test_a_folder_of_the_user_is_left(checkout):
    settings = {"JAX_COMPILATION_CACHE_DIR": "mine"}
    assert shown(checkout, "-m", "experiments.shown", **settings) == "mine"


def test_an_import_sets_nothing(checkout):
    assert shown(checkout, "-c", "import experiments.shown") == "None"
