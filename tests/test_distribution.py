"""What is built of the package, and its way into an empty environment."""

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, which is built from the sdist, and the sdist."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    subprocess.run([*command, ROOT], check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
        (record,) = (name for name in names if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(wheel.read(record))
    assert "jaxflow/py.typed" in names
    inside = {name for name in names if name.startswith("jaxflow/")}
    tracked = subprocess.run(
        ["git", "ls-files", "jaxflow"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if tracked:
        assert inside == set(tracked)
    outside = {name.split("/")[0] for name in set(names) - inside}
    assert outside == {record.split("/")[0]}
    assert metadata["Name"] == PROJECT["name"] != "jaxflow"
    assert metadata.get_all("Provides-Extra") == sorted(
        PROJECT["optional-dependencies"]
    )


@pytest.mark.slow
def test_the_sdist_holds_what_the_wheel_is_built_from(built):
    with tarfile.open(built[1]) as sdist:
        top = {name.split("/")[1] for name in sdist.getnames() if "/" in name}
    described = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}
    assert top == {"jaxflow", "CHANGELOG.md", "CITATION.cff"} | described


def test_a_requirement_stands_in_one_extra():
    extras = PROJECT["optional-dependencies"]
    named = [one for name, extra in extras.items() if name != "test" for one in extra]
    assert len(named) == len(set(named))


@pytest.mark.slow
def test_the_wheel_is_installed_into_an_empty_environment(built, tmp_path):
    """Its requirements come from the environment of the tests, since no package index
    need be at hand; .pth files, by which this checkout is found, are not read there."""
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", built[0]]
    subprocess.run(install, check=True, capture_output=True)
    told = subprocess.run(
        [python, "-c", "import jaxflow; print(jaxflow.__file__, jaxflow.__version__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert Path(told[0]).is_relative_to(tmp_path / "empty")
    assert told[1] == PROJECT["version"]
