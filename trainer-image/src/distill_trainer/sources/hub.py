"""Sources on the Hugging Face hub: `hf://organisation/name[@revision]`."""

from pathlib import Path

from distill_trainer import fingerprints
from distill_trainer.errors import TrainerError, last_line
from distill_trainer.sources import web
from distill_trainer.sources.request import Fetched, Request, Role

MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py"]
"""Pickles are not even downloaded."""
TOKENIZER_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]


def fetch(request: Request) -> Fetched:
    """Download a repository's files that a model or data set needs."""
    from huggingface_hub import snapshot_download

    token = request.secrets.token(request.secret, "token") if request.secret else None
    repository, _, pinned = request.uri.removeprefix("hf://").strip("/").partition("@")
    data = request.role in {Role.DATA, Role.PRODUCTION}
    wanted = TOKENIZER_FILES if request.role is Role.TOKENIZER else MODEL_FILES
    kind = "dataset" if data else "model"
    try:
        folder = snapshot_download(
            repository,
            repo_type=kind,
            revision=request.revision or pinned or None,
            token=token,
            local_dir=request.into,
            allow_patterns=None if data else wanted,
        )
    except Exception as error:
        raise classify(request, error) from error
    path = Path(folder)
    return Fetched(path, fingerprints.tree_digest(path))


def classify(request: Request, error: Exception) -> TrainerError | Exception:
    """Say what a failure of the hub's client means."""
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    match error:
        case errors.GatedRepoError():
            return request.refused(last_line(error))
        case errors.RepositoryNotFoundError() | errors.RevisionNotFoundError():
            return request.missing(last_line(error))
        case errors.HFValidationError():
            return request.missing("the name must be organisation/name")
        case _ if response is not None:
            return web.refusal(request, response.status_code)
        case OSError() if error.errno and error.filename:
            return error
        case _:
            return request.unreachable(last_line(error))
