"""Publishes to a Hugging Face hub: large files first, then one commit that has all of them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distill_api.names import Reason
from distill_api.targets import HubTarget

from distill_trainer.errors import BadInput, TrainerError, TryAgain, causes, is_full, last_line
from distill_trainer.publishing import listing
from distill_trainer.publishing.bundle import Bundle
from distill_trainer.publishing.listing import Entry
from distill_trainer.publishing.target import Parcel, Published

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_MAIN: Final = "main"


def publish(target: HubTarget, parcel: Parcel) -> Published:
    """Commit the bundle to a branch; files that others put there stay.

    A commit is what makes files readable, and it has all of them; large ones that an attempt
    before has uploaded are not sent again. Raises BadInput or TryAgain, never with the token.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # With hf_xet installed huggingface_hub 1.33 speaks Xet to every hub, asks none whether it can,
    # and hangs for many minutes on one that cannot. Every hub takes Git LFS, object by object.
    constants.HF_HUB_DISABLE_XET = True
    disable_progress_bars()
    token = parcel.secrets.token(target.secret_ref, "token")
    api = HfApi(endpoint=target.endpoint, token=token, library_name="kubedistill")
    try:
        commit = _committed(api, target, parcel)
        if target.tag is not None:
            _tag(api, target, commit)
    except TrainerError:
        raise
    except Exception as error:  # noqa: BLE001 - raised again; without its cause and the token in it
        raise _classify(target, error, token) from None
    return Published(f"hf://{target.repository}@{commit}", parcel.bundle.content_digest)


def _committed(api: "HfApi", target: HubTarget, parcel: Parcel) -> str:
    """Return the commit that has the bundle, made where the branch has not."""
    api.create_repo(target.repository, private=target.private, exist_ok=True)
    if target.revision != _MAIN:
        api.create_branch(target.repository, branch=target.revision, exist_ok=True)
    head = _head(api, target)
    files = (*parcel.bundle.entries, _listing_entry(parcel.bundle))
    if not different(api, target, head, files, parcel.bundle):
        return head
    commit = _commit(api, target, parcel, head)
    if wrong := different(api, target, commit, files, parcel.bundle):
        raise TryAgain(
            Reason.REGISTRY_UNREACHABLE,
            f"publish.huggingFace {target.repository}: commit {commit[:12]} has other content of"
            f" {wrong[0]} than was sent; the stage is tried again",
        )
    return commit


def _head(api: "HfApi", target: HubTarget) -> str:
    sha = api.model_info(target.repository, revision=target.revision).sha
    assert sha is not None
    return sha


def _listing_entry(bundle: Bundle) -> Entry:
    content = bundle.listing
    return Entry(listing.NAME, len(content), hashlib.sha256(content).hexdigest())


def different(
    api: "HfApi", target: HubTarget, commit: str, files: Iterable[Entry], bundle: Bundle
) -> list[str]:
    """Return the names of files that a commit lacks, or has with another content."""
    wanted = {entry.name: entry for entry in files}
    told = api.get_paths_info(target.repository, list(wanted), revision=commit)
    same = {info.path for info in told if _equal(info, wanted.get(info.path), bundle)}
    return sorted(wanted.keys() - same)


def _equal(info: Any, entry: Entry | None, bundle: Bundle) -> bool:
    """Compare by what the hub says of a file: sha256 of a large one, git's own hash of others."""
    if entry is None or getattr(info, "size", None) != entry.size:
        return False
    if info.lfs is not None:
        return bool(info.lfs.sha256 == entry.sha256)
    content = (
        bundle.listing if entry.name == listing.NAME else (bundle.path / entry.name).read_bytes()
    )
    blob = b"blob %d\0%b" % (len(content), content)
    return bool(info.blob_id == hashlib.sha1(blob, usedforsecurity=False).hexdigest())


def _commit(api: "HfApi", target: HubTarget, parcel: Parcel, head: str) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    bundle = parcel.bundle
    add: list[Any] = [
        CommitOperationAdd(entry.name, str(bundle.path / entry.name)) for entry in bundle.entries
    ]
    add.append(CommitOperationAdd(listing.NAME, bundle.listing))
    parcel.tell(0, bundle.size)
    api.preupload_lfs_files(target.repository, add, revision=target.revision, free_memory=False)
    parcel.tell(bundle.size, bundle.size)
    stale = _stale(api, target, parcel, head)
    made = api.create_commit(
        target.repository,
        [*add, *(CommitOperationDelete(name) for name in sorted(stale))],
        commit_message=f"Publish {parcel.tag}",
        commit_description="\n".join(f"{k}: {v}" for k, v in sorted(parcel.annotations.items())),
        revision=target.revision,
        # Who else commits in between is noticed: neither change is lost unseen.
        parent_commit=head,
    )
    return made.oid


def _stale(api: "HfApi", target: HubTarget, parcel: Parcel, head: str) -> set[str]:
    """Return the files of the student before, which the list at the head names, and no more."""
    if listing.NAME not in api.list_repo_files(target.repository, revision=head):
        return set()
    folder = parcel.scratch / "hub"
    path = api.hf_hub_download(
        target.repository, listing.NAME, revision=head, local_dir=folder, force_download=True
    )
    before = listing.names(listing.read(Path(path).read_bytes()))
    there = set(api.list_repo_files(target.repository, revision=head))
    return (before & there) - {entry.name for entry in parcel.bundle.entries} - {listing.NAME}


def _tag(api: "HfApi", target: HubTarget, commit: str) -> None:
    """Set the tag, or move it where it names an older commit."""
    assert target.tag is not None
    refs = api.list_repo_refs(target.repository)
    known = {ref.name: ref.target_commit for ref in refs.tags}
    if known.get(target.tag) == commit:
        return
    if target.tag in known:
        api.delete_tag(target.repository, tag=target.tag)
    api.create_tag(target.repository, tag=target.tag, revision=commit)


def _classify(target: HubTarget, error: Exception, token: str) -> TrainerError | Exception:
    if is_full(error):
        return error
    # An upload's failure is the cause of one that only says which file it was.
    answered = [e for e in causes(error) if getattr(e, "response", None) is not None]
    told: Any = answered[0] if answered else [*causes(error)][-1]
    status = told.response.status_code if answered else None
    detail = last_line(told).replace(token, "***")
    where = f"publish.huggingFace {target.repository}"
    if status in {401, 403, 404}:
        return TryAgain(
            Reason.SECRET_MISSING,
            f"{where} was refused ({detail}) with the token of Secret"
            f' "{target.secret_ref.name}": give one that may write there, the stage is tried again',
        )
    if status in {400, 402, 413, 422}:
        return BadInput(
            Reason.REGISTRY_UNREACHABLE,
            f"{where} refused the student ({detail}): check repository, revision and tag",
        )
    return TryAgain(
        Reason.REGISTRY_UNREACHABLE,
        f"{where} could not be reached ({detail}): check the endpoint and the network; what is"
        " uploaded is not sent again",
    )
