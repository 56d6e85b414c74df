"""The HTTPRoute that carries a rollout's traffic: one of its own, or a rule of one that exists."""

from typing import Annotated

from pydantic import Field

from distill_api.base import DnsLabel, DnsName, Model, Port, rule, rules, text

Hostname = Annotated[
    str,
    text(
        r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "a hostname has small letters, digits, '-' and '.', and may start with '*.'; it has no"
        " port and no scheme, for example search.example.com",
        most=253,
    ),
]


class ParentReference(Model):
    """A Gateway that the route hangs on."""

    name: DnsName
    """Name of the Gateway."""
    namespace: DnsLabel | None = None
    """Namespace of the Gateway; the rollout's by default. The Gateway has to allow routes of the
    rollout's namespace."""
    section_name: DnsName | None = None
    """Listener of the Gateway; every fitting one by default."""
    port: Port | None = None
    """Port of the listener; every one by default."""


class OwnedRoute(Model):
    """A route that the rollout makes, repairs and, when it is deleted, hands over or removes."""

    parent_refs: Annotated[list[ParentReference], Field(min_length=1, max_length=8)]
    """Gateways that carry the route; each has to accept it before a step's time counts."""
    hostnames: Annotated[list[Hostname], Field(max_length=16)] = []
    """Names in requests that the route is for; those of the listeners by default."""
    path: Annotated[
        str,
        text(
            r"^/[^\s?#]*$",
            "route.path must start with / and have no spaces, '?' or '#'",
            most=1024,
        ),
    ] = "/"
    """Beginning of the paths that the route is for."""
    request_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """Longest time of one request in seconds; the gateway's own limit by default."""


class ExistingRoute(Model):
    """A rule of an HTTPRoute that somebody else keeps; only two weights of it are changed."""

    name: DnsName
    """Name of the HTTPRoute, in the namespace of the rollout."""
    rule: DnsName | None = None
    """Name of its rule (`spec.rules[].name`). May be left out where the route has one rule. The
    rule's backendRefs are the Services of both arms and no others."""


class Gateway(Model):
    """Where traffic is split."""

    model_config = rules(
        rule(
            "has(self.route) != has(self.httpRoute)",
            "gateway needs exactly one of route (made by the rollout) and httpRoute (one that is"
            " there already)",
        )
    )

    route: OwnedRoute | None = None
    """A route that the rollout makes, named after it."""
    http_route: ExistingRoute | None = None
    """A rule of a route that is there already."""
