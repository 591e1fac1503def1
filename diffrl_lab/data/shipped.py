"""What ships in the folder data/: recordings, weights and results, each with its maker, seed, size and SHA-256.

`python -m diffrl_lab.data.shipped` renews sizes and hashes in data/manifest.json and the table in data/README.md.
The manifest is a list of {file, maker, seed, bytes, sha256}; file is relative to data/, maker the command that made it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from diffrl_lab.files import DATA, arguments, write_text

BEGIN, END = "<!-- table: made by `python -m diffrl_lab.data.shipped` -->", "<!-- end of table -->"


def shipped(name: str) -> Path:
    """The path of a shipped file or folder: shipped("recordings/pointmaze-umaze-v0"), checked against its SHA-256.

    Raises ValueError when there is none of that name (it lists those there are), when a file is missing, and when one
    was changed since it was made.
    """
    entries = manifest()
    name = name.strip("/")
    mine = [e for e in entries if e["file"] == name or e["file"].startswith(f"{name}/")]
    if not mine:
        raise ValueError(f"nothing called {name!r} ships in {DATA}; there are: {', '.join(_names(entries)) or 'none'}")
    for entry in mine:
        path = DATA / entry["file"]
        if not path.is_file():
            raise ValueError(f"{path} is missing; restore it with `git checkout -- data`, or make it: {entry['maker']}")
        if _sha256(path) != entry["sha256"]:
            raise ValueError(
                f"{path} is not the file that data/manifest.json describes; restore it: `git checkout -- "
                "data`; or, if it was made anew: `python -m diffrl_lab.data.shipped`"
            )
    return DATA / name


def manifest() -> list[dict]:
    """The entries of data/manifest.json; ValueError when the folder is not there (a wheel without the repository)."""
    path = DATA / "manifest.json"
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: the shipped data live in the repository; install diffrl_lab from a clone "
            "of it with `pip install -e .`"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def add(file: str, maker: str, seed: int | None) -> None:
    """Enter a file below data/ into the manifest (or renew its entry), and the table with it."""
    entries = [e for e in manifest() if e["file"] != file] if (DATA / "manifest.json").is_file() else []
    _save([*entries, {"file": file, "maker": maker, "seed": seed, "bytes": 0, "sha256": ""}])


def _save(entries: list[dict]) -> None:
    for entry in entries:
        path = DATA / entry["file"]
        entry |= {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    entries = sorted(entries, key=lambda e: e["file"])
    write_text(DATA / "manifest.json", json.dumps(entries, indent=1) + "\n")
    readme = DATA / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else f"# Data\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    write_text(readme, before + BEGIN + "\n" + table(entries) + END + rest.partition(END)[2])


def table(entries: list[dict]) -> str:
    """The manifest as a Markdown table."""
    rows = ["| file | made by | seed | bytes | SHA-256 |", "|---|---|---:|---:|---|"]
    for e in entries:
        seed = "" if e["seed"] is None else e["seed"]
        rows.append(f"| `{e['file']}` | `{e['maker']}` | {seed} | {e['bytes']:,} | `{e['sha256'][:16]}…` |")
    return "\n".join(rows) + "\n"


def _names(entries: list[dict]) -> list[str]:
    """What may be asked for: a Minari dataset by its folder, everything else by its file."""
    return sorted({e["file"].partition("/data/")[0] for e in entries})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    arguments("python -m diffrl_lab.data.shipped", __doc__)
    _save(manifest())
    print(f"{len(manifest())} files in {DATA / 'manifest.json'}")
