"""config.json: what determines the bits of a run, but not which runs there are."""

import contextlib
import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

from ._canonical import canonical, digest, parse
from ._disk import sync_folder, write_and_sync
from ._inside import read_file, remove_file

CONFIG = "config.json"
# In folders of the format before, parts do not say to which config they belong.
UNMARKED, FORMAT = 1, 2
# What a file system says that has no hard links (FAT), or gives none (FUSE).
_NO_LINKS = {
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EMLINK,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What a config.json says.

    - `values`: the config itself.
    - `format`: of the folder.
    """

    values: dict[str, Any]
    format: int = FORMAT

    @property
    def sha256(self) -> str:
        """By which the parts of a folder say that they belong to it."""
        return digest(canonical("config", self.values).encode())

    def text(self) -> str:
        content = {"config": self.values, "format": self.format, "sha256": self.sha256}
        return json.dumps(content, sort_keys=True, indent=2) + "\n"


def has_config(folder: Path) -> bool:
    """Whether something is there, if only a link to nowhere."""
    return os.path.lexists(folder / CONFIG)


def read_config(folder: Path) -> Config:
    """The config of a folder; a ValueError if it is not what was written."""
    path = folder / CONFIG
    content, _ = read_file(path)
    try:
        config, version = _fields(parse(content))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged, it is not the JSON that was written "
            f"({type(error).__name__}: {error}). Restore it from a copy."
        ) from error
    if version not in (UNMARKED, FORMAT):
        raise ValueError(
            f"{path} is of format {version}, and this version of jaxflow reads the "
            f"formats {UNMARKED} and {FORMAT}. Use the version that wrote it."
        )
    found = Config(config, version)
    if found.text().encode() != content:
        raise ValueError(
            f"{path} was changed: its content does not match its checksum. Restore it "
            "from a copy; runs of another config need another folder."
        )
    return found


def _fields(content: Any) -> tuple[dict[str, Any], int]:
    if not isinstance(content, dict) or content.keys() != {
        "config",
        "format",
        "sha256",
    }:
        raise ValueError("it must hold config, format and sha256")
    config, version = content["config"], content["format"]
    if not isinstance(config, dict):
        raise ValueError("config must be a dict")
    if isinstance(version, bool) or not isinstance(version, int):
        raise ValueError("format must be an integer")
    # Numbers that are not finite are no JSON, though Python reads them.
    canonical("config", config)
    return config, version


def claim_config(
    folder: Path, part: Path, config: dict[str, Any], *, started: bool
) -> Config:
    """Writes the config of a new folder, or checks that an old one has the same.

    - `started`: whether a part had a manifest just before, which is written after the
        config.

    The link is made by one of many processes that start at once, and the others find
    its file whole.
    """
    if not has_config(folder):
        if started:
            raise ValueError(
                f"{folder} holds records but no {CONFIG}, which says of what. Restore "
                "it from a copy, or choose another folder."
            )
        temporary = part / f"{CONFIG}.partial"
        try:
            write_and_sync(temporary, Config(config).text().encode())
            _publish(temporary, folder / CONFIG)
        finally:
            remove_file(temporary)
        sync_folder(folder)
    return check_config(folder, config)


def _publish(temporary: Path, path: Path) -> None:
    """Gives a file its name, unless the name is taken."""
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Of two processes that start at once the second may win here. The first then
        # finds another config before its next chunk, and stops if it differs.
        if not os.path.lexists(path):
            os.replace(temporary, path)


def check_config(folder: Path, config: dict[str, Any]) -> Config:
    """The config of a folder; a ValueError that names every key whose value is another
    one there."""
    found = read_config(folder)
    old, new = _flat(found.values), _flat(config)
    differences = [
        f"{key} is {old.get(key, 'absent')} there and {new.get(key, 'absent')} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if differences:
        raise ValueError(
            f"{folder} holds runs of another config: {'; '.join(differences)}. What "
            "tells the runs of one sweep apart (n, seeds) may differ, these may not: "
            "choose another folder, or the config that this one was made with."
        )
    return found


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Every value as text under its dotted key. Text, since 1 == 1.0 == True."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = canonical(key, value)
    return flat
