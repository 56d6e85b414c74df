"""From the environment to one frozen object, read once at the start."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from distill_operator.errors import BadSettings

PREFIX: Final = "KUBEDISTILL_"
"""Kubernetes puts variables like KUBEDISTILL_PROGRESS_PORT, named after Services of the namespace,
into every pod; none of ours may end in _PORT or _HOST."""
SWITCH: Final = {"AUTO": None, "ON": True, "OFF": False}
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Settings:
    """What this process was configured with."""

    trainer_image: str
    """Image of the stages' pods."""
    server_image: str
    """Image of the arms' pods and of the prober; empty: rollouts have to name theirs."""
    namespace: str
    """The operator's own namespace: of its Lease, certificate and EndpointSlice."""
    identity: str
    """This replica, unique among all."""
    pod_ip: str | None
    """Address that the EndpointSlice names; None: none is written (out of the cluster)."""
    watch_namespaces: tuple[str, ...]
    """The namespaces to serve; empty: all."""
    progress_url: str | None
    """Where trainer pods push their progress; None: they do not."""
    progress_service: str
    """The Service behind progress_url."""
    progress_port: int
    metrics_port: int
    lease_name: str
    lease_seconds: float
    workers: int
    """Passes that run at the same time."""
    resync_seconds: float
    """Pause between full lists, beside the watches."""
    progress_write_seconds: float
    """Shortest pause between two status writes that only carry progress."""
    lost_node_seconds: float
    """How long pods stay on a node that does not answer."""
    image_volumes: bool | None
    """Whether pods can mount an image; None: the API server's version tells."""
    log_level: str


def read(env: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; BadSettings with one sentence for each value that cannot be used."""
    reader = _Reader(env)
    namespace = reader.text("POD_NAMESPACE", "default", pattern=r"[a-z0-9][-a-z0-9]{0,62}")
    service = reader.text(PREFIX + "PROGRESS_SERVICE", "kubedistill-progress")
    port = reader.whole(PREFIX + "LISTEN_PROGRESS", 8443, 0, 65535)
    url = (
        env.get(PREFIX + "PROGRESS_URL") or f"https://{service}.{namespace}.svc:{port}/v1/progress"
    )
    settings = Settings(
        trainer_image=reader.required(PREFIX + "TRAINER_IMAGE", "the image of the trainer pods"),
        server_image=reader.text(PREFIX + "SERVER_IMAGE", "", pattern=r"\S*"),
        namespace=namespace,
        identity=reader.text("POD_NAME", f"{os.uname().nodename}-{os.getpid()}"),
        pod_ip=env.get("POD_IP") or None,
        watch_namespaces=reader.names(PREFIX + "WATCH_NAMESPACES"),
        progress_url=None if url == "off" else reader.https(PREFIX + "PROGRESS_URL", url),
        progress_service=service,
        progress_port=port,
        metrics_port=reader.whole(PREFIX + "LISTEN_METRICS", 8080, 0, 65535),
        lease_name=reader.text(PREFIX + "LEASE_NAME", "kubedistill"),
        lease_seconds=reader.number(PREFIX + "LEASE_SECONDS", 15, 3, 3600),
        workers=reader.whole(PREFIX + "WORKERS", 8, 1, 1000),
        resync_seconds=reader.number(PREFIX + "RESYNC_SECONDS", 600, 10, 86400),
        progress_write_seconds=reader.number(PREFIX + "PROGRESS_WRITE_SECONDS", 5, 1, 3600),
        lost_node_seconds=reader.number(PREFIX + "LOST_NODE_SECONDS", 30, 0, 3600),
        image_volumes=SWITCH.get(reader.choice(PREFIX + "IMAGE_VOLUMES", "AUTO", tuple(SWITCH))),
        log_level=reader.choice(PREFIX + "LOG_LEVEL", "INFO", LEVELS),
    )
    if reader.complaints:
        raise BadSettings("; ".join(reader.complaints))
    return settings


class _Reader:
    """Reads values one by one, and collects a sentence for each that cannot be used."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.complaints: list[str] = []

    def _complain(self, name: str, expected: str) -> None:
        self.complaints.append(f"{name} is {self._env.get(name, '')!r}: expected {expected}")

    def required(self, name: str, what: str) -> str:
        value = self._env.get(name, "")
        if not value:
            self.complaints.append(f"{name} is not set: set it to {what}")
        return value

    def text(self, name: str, default: str, *, pattern: str = r"\S+") -> str:
        value = self._env.get(name) or default
        if not re.fullmatch(pattern, value):
            self._complain(name, f"something that matches {pattern}")
        return value

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = (self._env.get(name) or default).upper()
        if value not in allowed:
            self._complain(name, "one of " + ", ".join(allowed))
        return value

    def names(self, name: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in self._env.get(name, "").split(",") if part.strip())
        if not all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", part) for part in found):
            self._complain(name, "names of namespaces with commas between them")
        return found

    def https(self, name: str, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname:
            self._complain(name, "an https:// URL, or off")
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        return self._between(name, default, (low, high), int, "a whole number")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        return self._between(name, default, (low, high), float, "a number of seconds")

    def _between[N: (int, float)](
        self, name: str, default: N, limits: tuple[N, N], parse: Callable[[str], N], what: str
    ) -> N:
        text = self._env.get(name)
        if not text:
            return default
        try:
            value = parse(text)
        except ValueError:
            value = None
        if value is None or not limits[0] <= value <= limits[1]:
            self._complain(name, f"{what} from {limits[0]} to {limits[1]}")
            return default
        return value
