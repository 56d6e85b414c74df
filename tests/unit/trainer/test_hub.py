"""A student on a Hugging Face hub: its real client against a server that speaks the hub's API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distill_api.names import Reason, Stage
from distill_api.sources import SecretRef
from distill_api.wire import Report
from distill_trainer.context import Context
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.publishing.listing import NAME
from distill_trainer.secrets import Secrets
from distill_trainer.sources import fetching
from distill_trainer.sources.request import Request, Role
from distill_trainer.stages import publish
from http_faults import Answer, Call, serving
from hubs import TOKEN, Hub
from trainer import a_context, a_task, a_trained_student

# The client's own, of httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    found = Hub()
    with serving(found.answer) as server:
        found.url = server.url
        # Sources name no hub of their own; a pod's HF_ENDPOINT sets these two.
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield found


def a_publication(
    folder: Path, hub: Hub, weights: bytes = b"12345678", token: str = TOKEN, **target: Any
) -> Context:
    secret = folder / "secrets" / "hub"
    secret.mkdir(parents=True, exist_ok=True)
    (secret / "token").write_text(f"{token}\n")
    place = {"repository": "me/demo", "endpoint": hub.url, "secretRef": {"name": "hub"}, **target}
    task = a_task(folder, Stage.PUBLISH, cache=False, publish=[{"huggingFace": place}])
    context = a_context(task, folder)
    a_trained_student(context, weights)
    return context


def published(folder: Path, hub: Hub, weights: bytes = b"12345678", **target: Any) -> Report:
    return publish.run(a_publication(folder, hub, weights, **target))


def test_a_student_is_one_commit_with_its_list(tmp_path: Path, hub: Hub):
    report = published(tmp_path, hub, tag="v1")
    commit = hub.branches["main"]
    assert report.artifact is not None
    assert report.artifact.uri == f"hf://me/demo@{commit.oid}"
    assert len(hub.commits) == 2  # the hub's own first one, and ours
    assert hub.private
    assert hub.tags == {"v1": commit.oid}
    assert commit.files["model.safetensors"] == b"12345678"
    listed = json.loads(commit.files[NAME])["files"]
    assert commit.files.keys() == {*listed, NAME, ".gitattributes"}


def test_a_student_on_a_hub_can_be_fetched_and_is_checked(tmp_path: Path, hub: Hub):
    report = published(tmp_path, hub)
    assert report.artifact is not None
    secrets, secret = Secrets(tmp_path / "secrets", "default"), SecretRef(name="hub")
    request = Request(
        Role.STUDENT, report.artifact.uri, tmp_path / "got", secrets, tmp_path, secret=secret
    )
    got = fetching.fetch(request)
    assert (got.path / "model.safetensors").read_bytes() == b"12345678"
    hub.commits[hub.branches["main"].oid].files["config.json"] = b"{ }"
    other = Request(
        Role.STUDENT, report.artifact.uri, tmp_path / "bad", secrets, tmp_path, secret=secret
    )
    with pytest.raises(BadInput, match=r"config.json has 3 bytes instead of 2"):
        fetching.fetch(other)


def test_publishing_again_makes_no_commit_and_a_tag_moves(tmp_path: Path, hub: Hub):
    first = published(tmp_path / "one", hub, tag="latest")
    again = published(tmp_path / "two", hub, tag="latest")
    assert again.artifact == first.artifact
    assert len(hub.commits) == 2
    hub.branches["main"].files["notes.md"] = b"of somebody else"
    published(tmp_path / "three", hub, b"87654321", tag="latest")
    assert hub.branches["main"].files["model.safetensors"] == b"87654321"
    assert hub.branches["main"].files["notes.md"] == b"of somebody else"
    assert hub.tags == {"latest": hub.branches["main"].oid}


def test_files_of_the_student_before_go_with_the_same_commit(tmp_path: Path, hub: Hub):
    published(tmp_path / "one", hub)
    files = hub.branches["main"].files
    listed = json.loads(files[NAME])
    listed["files"]["model-00002-of-00002.safetensors"] = {"size": 1, "sha256": "0" * 64}
    files |= {NAME: json.dumps(listed).encode(), "model-00002-of-00002.safetensors": b"x"}
    published(tmp_path / "two", hub, b"87654321")
    assert "model-00002-of-00002.safetensors" not in hub.branches["main"].files
    assert len(hub.commits) == 3


def test_a_publication_that_breaks_off_shows_nothing_and_sends_large_files_once(
    tmp_path: Path, hub: Hub
):
    def breaks(call: Call) -> Answer | None:
        return Answer(500) if "/commit/" in call.path else None

    hub.fault = breaks
    with pytest.raises(TryAgain, match="what is uploaded is not sent again"):
        published(tmp_path, hub)
    assert hub.branches["main"].files.keys() == {".gitattributes"}
    assert len(hub.uploads) == 1
    hub.fault = lambda _: None
    published(tmp_path, hub)
    assert len(hub.uploads) == 1
    assert hub.branches["main"].files["model.safetensors"] == b"12345678"


def test_another_branch_is_made_and_main_stays(tmp_path: Path, hub: Hub):
    published(tmp_path, hub, revision="candidates/small")
    assert "model.safetensors" in hub.branches["candidates/small"].files
    assert "model.safetensors" not in hub.branches["main"].files


def test_somebody_elses_commit_in_between_is_not_lost(tmp_path: Path, hub: Hub):
    published(tmp_path / "one", hub)

    def overtakes(call: Call) -> Answer | None:
        if "/commit/" in call.path:
            hub.fault = lambda _: None
            hub._move("main", {**hub.branches["main"].files, "notes.md": b"new"})
        return None

    hub.fault = overtakes
    with pytest.raises(TryAgain, match="A commit has happened since"):
        published(tmp_path / "two", hub, b"87654321")
    published(tmp_path / "two", hub, b"87654321")
    assert hub.branches["main"].files["notes.md"] == b"new"


def test_a_wrong_token_is_waited_for_and_never_told(
    tmp_path: Path, hub: Hub, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    with pytest.raises(TryAgain) as caught:
        publish.run(a_publication(tmp_path, hub, token="hf_" + "w" * 32))
    assert caught.value.reason is Reason.SECRET_MISSING
    assert 'Secret "hub"' in caught.value.sentence
    assert "hf_www" not in caught.value.sentence + caplog.text


def test_other_content_than_was_sent_is_noticed(tmp_path: Path, hub: Hub):
    def flips(call: Call) -> Answer | None:
        if "/paths-info/" in call.path:
            commit = hub.branches["main"]
            if "config.json" in commit.files:
                commit.files["config.json"] = b"{x"
        return None

    hub.fault = flips
    with pytest.raises(TryAgain, match=r"has other content of config.json than was sent"):
        published(tmp_path, hub)
