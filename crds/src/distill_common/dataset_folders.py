"""Finds the files of a Hugging Face data set in a folder: saved to disk, or laid out as on the hub.

Only data is read: no script, no pickle, nothing from the network. Of several splits `train` is
read, as kubedistill divides the records itself.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml

from distill_common.problems import BadRows

DICT: Final = "dataset_dict.json"
STATE: Final = "state.json"
README: Final = "README.md"
README_LIMIT: Final = 1_000_000
FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "Parquet": (".parquet",),
    "Arrow": (".arrow",),
    "JSONL": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson"),
    "CSV": (".csv", ".csv.gz", ".csv.zst"),
}
"""In the order of preference."""
SPLITS: Final[Mapping[str, str]] = {
    "train": "train|training",
    "validation": "validation|valid|val|dev",
    "test": "test|testing|eval|evaluation",
}
"""The words by which `datasets` tells splits from names."""
_EXPECTED: Final = (
    "expected what save_to_disk writes (dataset_dict.json or state.json), or Parquet, JSONL or CSV"
    " files with a README.md as on the hub"
)

type Files = tuple[str, list[Path]]
"""The format, and the files in their order."""


def find(path: Path) -> Files:
    """Return format and files of the data set's train split. Raises BadRows with a sentence."""
    root = _root(path)
    if (root / DICT).is_file():
        names = _json(root / DICT).get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRows(f"{DICT} names no splits: {_EXPECTED}")
        return _saved(root / _choose(names))
    if (root / STATE).is_file():
        return _saved(root)
    return _as_on_hub(root)


def _root(path: Path) -> Path:
    """Descend through folders that hold one folder only, which an archive puts around."""
    if path.is_file():
        raise BadRows(f"{path.name} is a file, and an HFDataset is a folder: {_EXPECTED}")
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in {"data", *SPLITS}:
        return _root(inside[0])
    return path


def _saved(folder: Path) -> Files:
    listed = _json(folder / STATE).get("_data_files")
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = [one.get("filename") for one in entries]
    files = [folder / name for name in names if isinstance(name, str) and Path(name).name == name]
    absent = [file.name for file in files if not file.is_file()]
    if not files or absent or len(files) != len(names):
        told = f"{absent[0]} is missing" if absent else f"{STATE} names no files"
        raise BadRows(f"{folder.name} is no whole data set: {told}; {_EXPECTED}")
    return "Arrow", files


def _choose(splits: Sequence[str]) -> str:
    """Return the split that is read: train, or the only one."""
    if "train" in splits:
        return "train"
    if len(splits) == 1 and Path(splits[0]).name == splits[0]:
        return splits[0]
    raise BadRows(
        f"The data set has the splits {', '.join(splits[:8]) or 'none'} and none is called train:"
        " name the folder of one of them in the uri, or call one train"
    )


def _as_on_hub(root: Path) -> Files:
    files = sorted(file for file in root.rglob("*") if file.is_file() and _visible(file, root))
    kind, found = _one_format(files)
    by_split = _declared(root, found) or _by_name(root, found)
    return kind, by_split[_choose(list(by_split))]


def _visible(file: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _one_format(files: Iterable[Path]) -> Files:
    listed = list(files)
    for kind, suffixes in FORMATS.items():
        found = [file for file in listed if file.name.endswith(suffixes)]
        if found:
            return kind, found
    there = ", ".join(file.name for file in listed[:5]) or "nothing"
    raise BadRows(f"The folder is no data set: it has {there}; {_EXPECTED}")


def _declared(root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files by split as the README's `configs` say; empty where it says nothing."""
    config = _config(_front_matter(root / README).get("configs"))
    declared = config.get("data_files")
    if isinstance(declared, str | list) and not _are_splits(declared):
        declared = [{"split": "train", "path": declared}]
    if isinstance(declared, dict):
        declared = [{"split": split, "path": path} for split, path in declared.items()]
    found: dict[str, list[Path]] = {}
    for one in declared or []:
        patterns = one.get("path", [])
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            matched = [
                file
                for file in files
                if fnmatchcase(file.relative_to(root).as_posix(), str(pattern))
            ]
            found.setdefault(str(one.get("split", "train")), []).extend(matched)
    return {split: sorted(set(listed)) for split, listed in found.items() if listed}


def _are_splits(declared: Any) -> bool:
    return isinstance(declared, list) and all(isinstance(one, dict) for one in declared)


def _config(configs: Any) -> Mapping[str, Any]:
    """Return the configuration that is read: the only one, or the default."""
    listed = [one for one in configs if isinstance(one, dict)] if isinstance(configs, list) else []
    if len(listed) <= 1:
        return listed[0] if listed else {}
    for one in listed:
        if one.get("default") is True or one.get("config_name") == "default":
            return one
    names = ", ".join(str(one.get("config_name")) for one in listed[:8])
    raise BadRows(
        f"The data set has the configurations {names} and none is the default: name the folder of"
        " one of them in the uri"
    )


def _front_matter(readme: Path) -> Mapping[str, Any]:
    """Return the YAML between two lines of dashes where a README begins."""
    if not readme.is_file():
        return {}
    text = readme.read_bytes()[:README_LIMIT].decode("utf-8", errors="replace")
    parts = re.split(r"^---\s*$", text, maxsplit=2, flags=re.MULTILINE)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        content = yaml.safe_load(parts[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRows(f"{README} begins with YAML that cannot be read: {error}"[:300]) from error
    return content if isinstance(content, dict) else {}


def _by_name(root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files by split as their names or folders tell; all are train where none does."""
    found: dict[str, list[Path]] = {}
    for file in files:
        split = _split_of(file.relative_to(root).as_posix())
        found.setdefault(split or "", []).append(file)
    if list(found) == [""]:
        return {"train": found[""]}
    found.pop("", None)
    return found


def _split_of(name: str) -> str | None:
    for split, words in SPLITS.items():
        if re.search(rf"(?:^|[-._ /0-9])(?:{words})(?:[-._ /0-9]|$)", name):
            return split
    return None


def _json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadRows(f"{file.name} cannot be read ({error}): {_EXPECTED}"[:400]) from error
    if not isinstance(content, dict):
        raise BadRows(f"{file.name} is not what save_to_disk writes: {_EXPECTED}")
    return content
