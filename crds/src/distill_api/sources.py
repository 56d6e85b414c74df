"""Where models come from: URIs, and the Secrets that open them."""

from typing import Annotated

from pydantic import JsonValue

from distill_api.base import DnsName, Model, ShortText, Uri, rule, rules, text

SCHEMES = ("oci", "pvc", "s3", "gs", "hf", "http", "https", "file")


def source_rules() -> list[dict[str, JsonValue]]:
    """Return the rules of everything that is fetched by URI."""
    pattern = "^(" + "|".join(SCHEMES) + ")://.+"
    listed = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    return [
        rule(
            f"self.uri.matches('{pattern}')",
            f"uri must be a URI of one of these kinds: {listed}",
            at=".uri",
        ),
        rule(
            "!self.plainHttp || self.uri.startsWith('oci://')",
            "plainHttp is for oci:// registries only: remove it, or write http:// in the uri",
            at=".plainHttp",
        ),
    ]


class SecretRef(Model):
    """A Secret in the namespace of the object, mounted into the pods that need it."""

    name: DnsName
    """Name of the Secret. kubedistill never reads it; only the pods do."""


class SecretKeyRef(SecretRef):
    """One key of a Secret."""

    key: Annotated[
        str,
        text(
            r"^[-._a-zA-Z0-9]+$",
            "must be a key of a Secret: letters, digits, '-', '_' and '.'",
            most=253,
        ),
    ]
    """Key inside the Secret."""


class StoredModel(Model):
    """A model by URI: a folder with config.json, safetensors and a tokenizer."""

    model_config = rules(
        *source_rules(),
        rule(
            "!has(self.revision) || self.uri.startsWith('hf://')",
            "revision is for hf:// models only: remove it, or pin a digest in the uri",
            at=".revision",
        ),
    )

    uri: Uri
    """`oci://registry/repository[:tag][@sha256:digest]`, `pvc://claim/path`, `s3://bucket/prefix`,
    `gs://bucket/prefix`, `hf://organisation/name`, `https://host/archive.tar.gz` or `file:///path`
    of the image. Pin a digest or revision to make the result reproducible."""
    revision: ShortText | None = None
    """Commit or tag on the Hugging Face hub; only with `hf://`."""
    secret_ref: SecretRef | None = None
    """Credentials: a docker config for `oci://`, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and
    AWS_ENDPOINT_URL) for `s3://`, token for `hf://` and `https://`."""
    plain_http: bool = False
    """Talk to an `oci://` registry without TLS. Only for registries inside the cluster."""


class ModelSource(StoredModel):
    """A model by URI, for the stages of a job."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off unless you have read that code."""
