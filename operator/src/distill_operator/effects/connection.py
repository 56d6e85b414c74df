"""How the API server is reached: from inside the cluster, or by a kubeconfig."""

from kopf import ConnectionInfo
from kubernetes.aio import client, config

from distill_operator.errors import BadSettings

BEARER = "BearerToken"


async def load() -> client.Configuration:
    """Return the client configuration of this process.

    In a pod the service account's files are used, and its token is read anew as it is renewed;
    elsewhere the file that KUBECONFIG names. Raises BadSettings where there is neither.
    """
    found = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=found)
    except config.ConfigException:
        await _from_file(found)
    return found


async def _from_file(found: client.Configuration) -> None:
    try:
        await config.load_kube_config(client_configuration=found, persist_config=False)
    except config.ConfigException as error:
        raise BadSettings(
            f"no way to reach a Kubernetes API server was found ({error}):"
            " run in a pod with a service account, or set KUBECONFIG"
        ) from error


async def for_kopf(found: client.Configuration) -> ConnectionInfo:
    """Return the same way in kopf's words; kopf asks again when the token is refused."""
    header: str = await found.get_api_key_with_prefix(BEARER) or ""
    scheme, _, token = header.rpartition(" ")
    return ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        insecure=not found.verify_ssl,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        scheme=scheme or ("Bearer" if token else None),
        token=token or None,
        trust_env=True,
    )
