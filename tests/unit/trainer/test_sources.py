"""Every kind of URI is fetched, and every failure has its sentence and its retry class."""

import hashlib
import io
import json
import socket
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from distill_api.names import Reason
from distill_api.sources import ModelSource, SecretRef
from distill_common import registry, volumes
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.secrets import Secrets
from distill_trainer.sources import archives, fetching, models
from distill_trainer.sources.request import Request, Role, shown
from http_faults import Answer, Call, serving


def a_request(folder: Path, uri: str, **options: Any) -> Request:
    into = folder / "into"
    into.mkdir(exist_ok=True)
    secrets = Secrets(folder / "secrets", "team")
    return Request(Role.DATA, uri, into, secrets, folder / "volumes", **options)


def a_closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_claim_is_read_in_place_and_cannot_be_left(tmp_path: Path):
    folder = tmp_path / "volumes" / "data"
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("{}\n")
    fetched = fetching.fetch(a_request(tmp_path, "pvc://data/rows.jsonl"))
    assert fetched.path == folder / "rows.jsonl"
    escaped = volumes.locate("pvc://data/../../etc/passwd", tmp_path / "volumes")
    assert escaped == folder / "etc" / "passwd"


def test_the_digest_is_that_of_the_content(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "rows.jsonl").write_text("1")
    first = fetching.fetch(a_request(tmp_path, f"file://{tmp_path}/a"))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = fetching.fetch(a_request(tmp_path, f"file://{tmp_path}/b"))
    (tmp_path / "b" / "rows.jsonl").write_text("2")
    changed = fetching.fetch(a_request(tmp_path, f"file://{tmp_path}/b"))
    assert first.digest == moved.digest != changed.digest


@pytest.mark.parametrize(
    ("uri", "detail"),
    [
        ("pvc://data/rows.jsonl", 'the claim "data" is not mounted'),
        ("file:///absent/rows.jsonl", "does not exist in the trainer's pod"),
    ],
)
def test_what_is_absent_is_bad_input(tmp_path: Path, uri: str, detail: str):
    with pytest.raises(BadInput) as caught:
        fetching.fetch(a_request(tmp_path, uri))
    assert caught.value.reason is Reason.DATA_UNREACHABLE
    assert detail in caught.value.sentence
    assert f"spec.data.source.uri {uri}" in caught.value.sentence


HTTP_CASES = [
    (404, None, BadInput, Reason.DATA_UNREACHABLE),
    (401, None, BadInput, Reason.DATA_UNREACHABLE),
    (403, "key", TryAgain, Reason.SECRET_MISSING),
    (500, None, TryAgain, Reason.DATA_UNREACHABLE),
    (503, "key", TryAgain, Reason.DATA_UNREACHABLE),
]


@pytest.mark.parametrize(("status", "secret", "kind", "reason"), HTTP_CASES)
def test_the_status_of_a_web_server_decides_the_retry(
    tmp_path: Path, status: int, secret: str | None, kind: type[Exception], reason: Reason
):
    (tmp_path / "secrets" / "key").mkdir(parents=True)
    (tmp_path / "secrets" / "key" / "token").write_text("hush\n")
    ref = SecretRef(name=secret) if secret else None
    with serving(lambda _: Answer(status)) as server, pytest.raises(kind) as caught:
        fetching.fetch(a_request(tmp_path, f"{server.url}/rows.jsonl", secret=ref))
    assert caught.value.reason is reason  # type: ignore[attr-defined]  # both classes have it
    assert "hush" not in str(caught.value)
    expected = "Bearer hush" if secret else None
    assert server.calls[0].headers.get("Authorization") == expected


def test_a_refused_connection_is_tried_again(tmp_path: Path):
    with pytest.raises(TryAgain, match="could not be reached"):
        fetching.fetch(a_request(tmp_path, f"http://127.0.0.1:{a_closed_port()}/rows.jsonl"))


def test_a_file_and_an_archive_come_over_http(tmp_path: Path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("deep/rows.jsonl")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"{}\n"))
    bodies = {"/rows.jsonl": b"{}\n", "/all.tar.gz": packed.getvalue()}
    told: list[tuple[float, float]] = []
    with serving(lambda call: Answer(body=bodies[call.path])) as server:
        request = a_request(
            tmp_path, f"{server.url}/rows.jsonl", tell=lambda *done: told.append(done)
        )
        assert fetching.fetch(request).path.read_bytes() == b"{}\n"
        unpacked = fetching.fetch(a_request(tmp_path, f"{server.url}/all.tar.gz")).path
    assert (unpacked / "deep" / "rows.jsonl").read_bytes() == b"{}\n"
    assert told == [(3, 3)]


def test_a_secret_that_is_absent_is_waited_for(tmp_path: Path):
    ref = SecretRef(name="key")
    with pytest.raises(TryAgain) as caught:
        fetching.fetch(a_request(tmp_path, "https://127.0.0.1/rows.jsonl", secret=ref))
    assert caught.value.reason is Reason.SECRET_MISSING
    assert '"key" does not exist in namespace "team"' in caught.value.sentence


def test_a_secret_without_the_key_names_the_key(tmp_path: Path):
    (tmp_path / "secrets" / "key").mkdir(parents=True)
    (tmp_path / "secrets" / "key" / "password").write_text("x")
    with pytest.raises(TryAgain, match='has no key "token": create it'):
        fetching.fetch(
            a_request(tmp_path, "https://127.0.0.1/rows.jsonl", secret=SecretRef(name="key"))
        )


@pytest.mark.parametrize("value", ["s3cret\nother", "s3cret \u2026", "two words", ""])
def test_a_token_that_no_header_carries_is_told_without_its_text(tmp_path: Path, value: str):
    (tmp_path / "secrets" / "key").mkdir(parents=True)
    (tmp_path / "secrets" / "key" / "token").write_text(value)
    with pytest.raises(TryAgain, match='"token" of Secret "key" is no token') as caught:
        fetching.fetch(
            a_request(tmp_path, "https://127.0.0.1/rows.jsonl", secret=SecretRef(name="key"))
        )
    assert "s3cret" not in str(caught.value)


def test_credentials_in_a_uri_are_never_shown():
    assert shown("https://me:hush@host/a?sig=hush") == "https://host/a"


def tar_with(name: str, *, link: str | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(name)
        if link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, link
        tar.addfile(info, io.BytesIO(b""))
    return packed.getvalue()


def zip_with(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(name, "x")
    return packed.getvalue()


HOSTILE = {
    "a name that climbs": tar_with("../evil"),
    "a link that leads out": tar_with("link", link="/etc/passwd"),
    "a zip that climbs": zip_with("../evil"),
    "no archive": b"nothing like it",
    "half a gzip": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("why", HOSTILE)
def test_a_hostile_or_broken_archive_is_bad_input(tmp_path: Path, why: str):
    archive, into = tmp_path / "a.tar", tmp_path / "into"
    archive.write_bytes(HOSTILE[why])
    into.mkdir()
    with pytest.raises(BadInput):
        archives.unpack(archive, into)
    assert not (tmp_path / "evil").exists()
    assert list(into.iterdir()) == []


def test_an_absolute_name_is_unpacked_inside(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(tar_with("/evil"))
    archives.unpack(tmp_path / "a.tar", tmp_path / "into")
    assert (tmp_path / "into" / "evil").is_file()


def a_model(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def checked(folder: Path, **options: Any) -> Path:
    return models.checked(folder, ModelSource(uri="oci://r.example.com/m", **options), Role.TEACHER)


def test_a_model_is_found_inside_the_folders_around_it(tmp_path: Path):
    inner = a_model(tmp_path / "pulled" / "models", config__json="{}", model__safetensors="x")
    assert checked(tmp_path / "pulled") == inner


MODELS: list[tuple[str, dict[str, str], str]] = [
    ("a pickle", {"config__json": "{}", "pytorch_model__bin": "x"}, "save_pretrained"),
    ("no weights", {"config__json": "{}"}, "expected model.safetensors"),
    ("no model", {"readme__txt": "hi", "other__txt": "x"}, "no model folder"),
    (
        "code of its own",
        {"config__json": '{"auto_map": {"AutoModel": "m.M"}}', "model__safetensors": "x"},
        "trustRemoteCode",
    ),
    (
        "a module of its own",
        {"modules__json": json.dumps([{"type": "mine.Module"}]), "model__safetensors": "x"},
        "trustRemoteCode",
    ),
]


@pytest.mark.parametrize(("why", "files", "expected"), MODELS, ids=[case[0] for case in MODELS])
def test_a_folder_that_is_no_safe_model_is_refused(
    tmp_path: Path, why: str, files: dict[str, str], expected: str
):
    with pytest.raises(BadInput) as caught:
        checked(a_model(tmp_path / "m", **files))
    assert caught.value.reason is Reason.BAD_MODEL
    assert expected in caught.value.sentence


def test_code_of_its_own_is_taken_when_asked_for(tmp_path: Path):
    folder = a_model(tmp_path / "m", config__json='{"auto_map": {}}', model__safetensors="x")
    assert checked(folder, trust_remote_code=True) == folder


REFERENCES = [
    ("r:5000/a/b:v1", ("r:5000", "a/b", "v1", None)),
    ("r.example.com/a", ("r.example.com", "a", None, None)),
    ("r/a/b:v1@sha256:12", ("r", "a/b", "v1", "sha256:12")),
]


@pytest.mark.parametrize(("text", "expected"), REFERENCES)
def test_references_are_split(text: str, expected: tuple[str, ...]):
    found = registry.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == expected


@pytest.mark.parametrize("text", ["nothing", "r/a@md5:1"])
def test_what_is_no_reference_is_bad_input(tmp_path: Path, text: str):
    with pytest.raises(BadInput, match="expected registry/repository"):
        fetching.fetch(a_request(tmp_path, f"oci://{text}"))


OCI_CASES = [
    (404, BadInput, Reason.DATA_UNREACHABLE),
    (401, BadInput, Reason.DATA_UNREACHABLE),
    (429, TryAgain, Reason.DATA_UNREACHABLE),
]


@pytest.mark.parametrize(("status", "kind", "reason"), OCI_CASES)
def test_the_answer_of_a_registry_decides_the_retry(
    tmp_path: Path, status: int, kind: type[Exception], reason: Reason
):
    body = json.dumps({"errors": [{"code": "X", "message": "manifest unknown"}]}).encode()
    with serving(lambda _: Answer(status, body)) as server:
        uri = server.url.replace("http://", "oci://") + "/data/rows:v1"
        with pytest.raises(kind) as caught:
            fetching.fetch(a_request(tmp_path, uri, plain_http=True))
    assert caught.value.reason is reason  # type: ignore[attr-defined]  # both classes have it
    assert "manifest unknown" in str(caught.value)


def test_a_registry_that_is_away_is_asked_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    waits: list[float] = []
    monkeypatch.setattr("distill_common.registry.time.sleep", waits.append)
    uri = f"oci://127.0.0.1:{a_closed_port()}/data/rows:v1"
    with pytest.raises(TryAgain, match="connection refused"):
        fetching.fetch(a_request(tmp_path, uri, plain_http=True))
    assert waits == [1, 2], "longer before the third time than before the second"


def test_basic_and_token_challenges_are_answered(tmp_path: Path):
    manifest = json.dumps({"schemaVersion": 2, "layers": []}).encode()

    def answer(call: Call) -> Answer:
        given = call.headers.get("Authorization", "")
        if call.path.startswith("/token"):
            ok = given == "Basic bWU6aHVzaA=="
            return Answer(200 if ok else 401, b'{"token": "t1"}')
        if given in {"Bearer t1", "Basic bWU6aHVzaA=="}:
            return Answer(200, manifest)
        realm = f'Bearer realm="{server.url}/token",service="r",scope="repository:a:pull"'
        challenge = realm if "token" in call.path else 'Basic realm="r"'
        return Answer(401, b"", {"Www-Authenticate": challenge})

    with serving(answer) as server:
        host = server.url.removeprefix("http://")
        folder = tmp_path / "secrets" / "login"
        folder.mkdir(parents=True)
        (folder / ".dockerconfigjson").write_text(
            json.dumps({"auths": {host: {"auth": "bWU6aHVzaA=="}}})
        )
        for repository in ("basic", "token"):
            request = a_request(
                tmp_path,
                f"oci://{host}/{repository}/rows:v1",
                plain_http=True,
                secret=SecretRef(name="login"),
            )
            fetched = fetching.fetch(request)
            assert fetched.digest == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
