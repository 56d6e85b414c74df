"""Every way the development cluster can fail, as sentences for the person who started it."""


class ClusterError(Exception):
    """The development cluster could not do what was asked; the message says what to do."""


class ComponentDied(ClusterError):
    """A component ended by itself; the message has its exit status and last log lines."""


class NotHealthy(ClusterError):
    """A component runs but its health check did not pass in time."""


class NotOurs(ClusterError):
    """A fault was asked of a cluster that this tool did not raise."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not possible on a foreign cluster: KUBECONFIG names one that this tool "
            "did not raise; unset KUBECONFIG to use the development cluster"
        )
