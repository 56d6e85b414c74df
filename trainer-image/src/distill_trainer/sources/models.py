"""Checks that a folder is a model that we can load safely."""

import json
from pathlib import Path
from typing import Any, Final

from distill_api.names import Reason
from distill_api.sources import ModelSource, StoredModel

from distill_trainer.errors import BadInput
from distill_trainer.sources.request import Role, shown

PICKLES: Final = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
MARKS: Final = ("modules.json", "config.json")
OF_TOKENIZERS: Final = ("tokenizer.json", "tokenizer_config.json")
NESTING: Final = 3
"""Folders that an archive or artifact may put around the model, such as `models/`."""


def checked(path: Path, source: ModelSource, role: Role) -> Path:
    """Return the folder with the model's configuration, or raise BadInput with what is wrong."""
    where = f"spec.{role}.uri {shown(source.uri)}"
    root = _root(path)
    if root is None:
        raise BadInput(
            Reason.BAD_MODEL,
            f"{where} is no model folder: neither modules.json nor config.json is in it."
            " Expected a folder as save_pretrained writes it",
        )
    if not any(root.rglob("*.safetensors")):
        raise BadInput(Reason.BAD_MODEL, _without_safetensors(root, where))
    _check_code(root, source, where)
    return root


def tokenizer(path: Path, source: StoredModel) -> Path:
    """Return the folder with a tokenizer's files, or raise BadInput."""
    root = _root(path, OF_TOKENIZERS)
    if root is None:
        raise BadInput(
            Reason.BAD_MODEL,
            f"spec.{Role.TOKENIZER}.uri {shown(source.uri)} has no tokenizer: neither"
            " tokenizer.json nor tokenizer_config.json is in it. Expected the served model's"
            " folder, or one as AutoTokenizer's save_pretrained writes it",
        )
    return root


def _without_safetensors(root: Path, where: str) -> str:
    pickles = sorted({file.name for pattern in PICKLES for file in root.rglob(pattern)})
    if pickles:
        return (
            f"{where} has its weights only as a pickle ({pickles[0]}), which can run code when it"
            " is loaded and is therefore never read. Convert it where you trust it:"
            " AutoModel.from_pretrained(folder).save_pretrained(folder), which writes"
            " model.safetensors, then remove the pickle"
        )
    return f"{where} has no weights: expected model.safetensors beside config.json"


def _check_code(root: Path, source: ModelSource, where: str) -> None:
    """Refuse a model that brings Python code, unless the user said to run it."""
    if source.trust_remote_code or not _asks_for_code(root):
        return
    raise BadInput(
        Reason.BAD_MODEL,
        f"{where} needs Python code that comes with it. Read that code, then set"
        " trustRemoteCode: true, or use a model whose architecture transformers has",
    )


def _asks_for_code(root: Path) -> bool:
    config = _json(root / "config.json")
    modules = _json(root / "modules.json")
    own = [str(module.get("type", "")) for module in modules] if isinstance(modules, list) else []
    foreign = any(not name.startswith("sentence_transformers.") for name in own)
    return foreign or (isinstance(config, dict) and bool(config.get("auto_map")))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _root(path: Path, marks: tuple[str, ...] = MARKS) -> Path | None:
    """Descend through folders that hold only one folder, to the one with a file of these."""
    current = path
    for _ in range(NESTING):
        if not current.is_dir():
            return None
        if any((current / mark).is_file() for mark in marks):
            return current
        if (current / "models").is_dir():
            current = current / "models"
            continue
        inside = [entry for entry in current.iterdir() if not entry.name.startswith(".")]
        if len(inside) != 1:
            return None
        current = inside[0]
    return None
