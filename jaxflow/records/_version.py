"""Versions of what is installed, by the name that is imported."""

import importlib.metadata

# What pip calls this package: PyPI's jaxflow is another one.
_DISTRIBUTION = "jaxflow-relu"


def version_of(package: str) -> str | None:
    """Of the package that is imported as `package`; None where it is not installed, as
    jaxflow is not where its checkout is only on the path."""
    name = _DISTRIBUTION if package == "jaxflow" else package
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
