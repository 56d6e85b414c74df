"""The progress endpoint's certificate: accepted by clients, renewed in time, stable otherwise."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from distill_operator.effects import certificate_store, certificates
from distill_operator.effects.certificate_store import Certificate

HOSTS = ["kubedistill-progress.ns.svc", "127.0.0.1"]
NOW = datetime.now(UTC)


def test_good_material_is_kept_as_it_is() -> None:
    made = certificates.renewed(None, HOSTS, now=NOW)

    assert certificates.renewed(made, HOSTS, now=NOW + timedelta(days=59)) is made


def test_a_leaf_is_renewed_before_its_end_under_the_same_authority() -> None:
    made = certificates.renewed(None, HOSTS, now=NOW)

    later = certificates.renewed(made, HOSTS, now=NOW + timedelta(days=61))

    assert later.authority == made.authority
    assert later.leaf != made.leaf


def test_other_hosts_get_another_leaf() -> None:
    made = certificates.renewed(None, HOSTS, now=NOW)

    assert certificates.renewed(made, [*HOSTS, "10.0.0.1"], now=NOW).leaf != made.leaf


def test_an_old_authority_is_replaced_a_year_before_its_end() -> None:
    made = certificates.renewed(None, HOSTS, now=NOW)

    later = certificates.renewed(made, HOSTS, now=NOW + timedelta(days=3650 - 364))

    assert later.authority != made.authority


def test_a_secret_gives_back_what_was_put_in() -> None:
    made = certificates.renewed(None, HOSTS, now=NOW)

    assert certificate_store.parse({"data": certificate_store.data(made)}) == made
    assert certificate_store.parse({"data": {"ca.crt": "eA=="}}) is None


@pytest.mark.parametrize(("host", "accepted"), [(HOSTS[0], True), ("elsewhere.ns.svc", False)])
async def test_a_strict_client_accepts_it_for_our_names_only(host: str, *, accepted: bool) -> None:
    served = Certificate(None, "ns", HOSTS)  # type: ignore[arg-type]
    served._use(certificates.renewed(None, HOSTS, now=NOW))
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=served.context
    )
    client = ssl.create_default_context(cadata=served.authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    port = server.sockets[0].getsockname()[1]
    async with server:
        if accepted:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client, server_hostname=host
            )
            writer.close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=host)
