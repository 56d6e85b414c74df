"""Where the student is published: registries, object stores, volumes and the Hugging Face hub."""

from typing import Annotated

from pydantic import Field

from distill_api.base import DnsName, Model, listed_once, rule, rules, text
from distill_api.names import DIGEST
from distill_api.sources import SecretRef

KeptDigest = Annotated[
    str,
    text(
        f"^{DIGEST}$",
        "must be sha256: and 64 hexadecimal digits, as status.publications tells them",
        most=71,
    ),
]


class Retention(Model):
    """Which older students of the same place are removed after a publication.

    Only what kubedistill itself has published there counts. The newest one always stays, what
    keepDigests names, and what a DistilledModelRollout of the cluster serves.
    """

    model_config = rules(
        rule(
            "has(self.keepLast) || has(self.keepDays)",
            "retention needs a rule: set keepLast, keepDays or both",
        ),
    )

    keep_last: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Number of newest students that stay, this one among them."""
    keep_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    """Students stay for so many days. With keepLast, what either rule keeps stays."""
    keep_digests: Annotated[
        list[KeptDigest], Field(max_length=64, json_schema_extra=listed_once())
    ] = []
    """Digests that always stay, for example those that rollouts of other clusters serve."""
    dry_run: bool = False
    """Only say in status.publications what would be removed."""


class Signing(Model):
    """A signature that cosign verifies."""

    secret_ref: SecretRef
    """Secret with `cosign.key` and `cosign.password`, as `cosign generate-key-pair k8s://...` makes
    it; an unencrypted key in PEM needs no password. The key is one of ECDSA on P-256."""


class OciTarget(Model):
    """An OCI artifact in a registry."""

    repository: Annotated[
        str,
        text(
            r"^[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$",
            "repository must be registry/name in small letters, without oci:// before it and"
            " without tag or digest after it, for example registry.example.com/models/minilm",
            least=3,
            most=512,
        ),
    ]
    """Registry and repository without tag, for example `registry.example.com/models/minilm`."""
    tag: (
        Annotated[
            str,
            text(
                r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
                "tag must have only letters, digits, '_', '.' and '-', and start with none of the"
                " last two",
                most=128,
            ),
        ]
        | None
    ) = None
    """Tag; the name of the job by default."""
    secret_ref: SecretRef | None = None
    """Secret of type kubernetes.io/dockerconfigjson."""
    plain_http: bool = False
    """Talk to the registry without TLS. Only for registries inside the cluster."""
    sign: Signing | None = None
    """Sign the artifact before its tag is set; not signed by default."""
    retention: Retention | None = None
    """Which older students of the repository are removed; none by default."""


ObjectStoreUri = Annotated[
    str,
    text(
        "^(s3|gs)://[^/]+.*$",
        "uri must be a prefix in an object store: s3://bucket/prefix or gs://bucket/prefix",
        least=6,
        most=1024,
    ),
]


class UriTarget(Model):
    """A folder by URI."""

    uri: ObjectStoreUri
    """`s3://bucket/prefix` or `gs://bucket/prefix`. The student lies in a folder of its digest
    below it, and `artifact.json` tells which one is the newest."""
    secret_ref: SecretRef | None = None
    """Credentials, as for models."""
    retention: Retention | None = None
    """Which older students below the prefix are removed; none by default."""


class PvcTarget(Model):
    """A folder on a volume."""

    claim_name: DnsName
    """PersistentVolumeClaim in the namespace of the job."""
    path: Annotated[
        str,
        text(
            r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
            "path must be a folder below the volume's root: letters, digits, '-', '_' and '.',"
            " parted by '/', without '/' or '..' at its start",
            most=512,
        ),
    ] = "models"
    """Folder below the volume's root."""


_GIT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"


class HubTarget(Model):
    """A repository on the Hugging Face hub."""

    repository: Annotated[
        str,
        text(
            r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$",
            "repository must be organisation/name, as on the hub",
            least=3,
            most=256,
        ),
    ]
    """`organisation/name`; made where it does not exist."""
    private: bool = True
    """Make the repository private when it is made."""
    revision: Annotated[
        str,
        text(_GIT_NAME, "revision must be the name of a branch, for example main", most=128),
    ] = "main"
    """Branch that gets the student as one commit; made from main where it does not exist."""
    tag: (
        Annotated[str, text(_GIT_NAME, "tag must be the name of a tag, for example v1", most=128)]
        | None
    ) = None
    """Tag for that commit; none by default."""
    endpoint: (
        Annotated[
            str,
            text(
                r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._/-]*)?$",
                "endpoint must be the address of a hub without user, query and fragment, for"
                " example https://hub.example.com",
                most=512,
            ),
        ]
        | None
    ) = None
    """Address of another hub that speaks the same API; https://huggingface.co by default."""
    secret_ref: SecretRef
    """Secret with the key `token`, which may write there."""


_TARGET_RULE = rule(
    "(has(self.oci) ? 1 : 0) + (has(self.s3) ? 1 : 0) + (has(self.pvc) ? 1 : 0)"
    " + (has(self.huggingFace) ? 1 : 0) == 1",
    "each entry of publish needs exactly one of oci, s3, pvc and huggingFace",
)


class Target(Model):
    """One place where the student is published."""

    model_config = rules(_TARGET_RULE)

    oci: OciTarget | None = None
    """An OCI artifact."""
    s3: UriTarget | None = None
    """A folder in an object store."""
    pvc: PvcTarget | None = None
    """A folder on a volume."""
    hugging_face: HubTarget | None = None
    """A repository on the Hugging Face hub."""
