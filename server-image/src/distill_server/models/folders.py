"""What a model's folder says of itself, read without the libraries that load it."""

import json
from pathlib import Path
from typing import Any, Final

from distill_server.errors import BadModel

CLASSIFIER: Final = "ForSequenceClassification"


def is_reranker(folder: Path) -> bool:
    """Tell a cross-encoder from an embedding model by what the folder says of itself."""
    own = _json(folder / "config_sentence_transformers.json").get("model_type")
    if own is not None or (folder / "modules.json").is_file():
        return own == "CrossEncoder"
    architectures = _json(folder / "config.json").get("architectures") or [""]
    return str(architectures[0]).endswith(CLASSIFIER)


def refuse_without_weights(folder: Path) -> None:
    """Raise BadModel where there is nothing that could be loaded."""
    if not folder.is_dir():
        raise BadModel(f"there is no folder {folder}: mount the model there, or set --model")
    if not any(folder.rglob("*.safetensors")):
        raise BadModel(
            f"{folder} holds no *.safetensors: mount the model's folder itself; weights in pickled"
            " files (*.bin) are never read, convert them"
        )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadModel(f"{path} is no JSON ({error}): publish the model anew") from error
    return content
