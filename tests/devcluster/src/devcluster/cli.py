"""The command line: `python -m devcluster VERB`."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from devcluster import cluster, paths, programs
from devcluster.cluster import Cluster
from devcluster.errors import ClusterError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
node_app = typer.Typer(no_args_is_help=True, help="Lose a node, or bring it back.")
app.add_typer(node_app, name="node")


@app.command()
def build() -> None:
    """Build the cluster's programs: minutes the first time, then seconds."""
    binaries = programs.build(paths.default().programs, say=cluster.say_to_stderr)
    for name, folder in binaries.folders.items():
        print(f"{name}\t{folder}")


@app.command()
def up(
    nodes: Annotated[int, typer.Option(min=1, max=9, help="How many nodes.")] = 1,
    addons: Annotated[
        str, typer.Option("--with", help="Add-ons: gateway,prometheus,registry.")
    ] = "",
) -> None:
    """Raise the cluster, or complete a running one."""
    cluster.up(nodes=nodes, wanted=[name for name in addons.split(",") if name])


@app.command()
def down() -> None:
    """Stop everything and leave nothing behind but images and the registry's content."""
    cluster.down()


@app.command()
def status() -> None:
    """Every component and how it is; exit status 1 unless all are healthy."""
    conditions = cluster.status()
    for name, condition in conditions:
        print(f"{name:28} {condition}")
    if not conditions:
        print("the development cluster is not up")
    if not conditions or any(condition != "healthy" for _, condition in conditions):
        raise typer.Exit(1)


@app.command()
def load(images: list[Path]) -> None:
    """Import image archives or OCI layout folders into every node."""
    for image in images:
        Cluster.attach().load(image)


@app.command()
def kubeconfig() -> None:
    """Print the path of the administrator's kubeconfig."""
    print(Cluster.attach().kubeconfig)


# Everything from the first word on is kubectl's, `--` and `--help` included.
@app.command(
    context_settings={
        "allow_extra_args": True,
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
    },
)
def kubectl(context: typer.Context) -> None:
    """Run kubectl against the cluster."""
    environment = {**os.environ, **Cluster.attach().environment}
    sys.stdout.flush()
    os.execvpe("kubectl", ["kubectl", *context.args], environment)  # noqa: S606 - no shell wanted


@app.command()
def env() -> None:
    """Print exports for a shell: `eval "$(python -m devcluster env)"`."""
    for name, value in Cluster.attach().environment.items():
        print(f"export {name}={shlex.quote(value)}")


@app.command()
def stop(component: str) -> None:
    """Stop a component as a fault, e.g. `apiserver` or `node-1/kubelet`."""
    Cluster.attach().stop(component)


@app.command()
def start(component: str) -> None:
    """Start a stopped component again."""
    Cluster.attach().start(component)


@node_app.command("kill")
def node_kill(name: str) -> None:
    """Lose a node at once, with everything that runs on it."""
    Cluster.attach().kill_node(name)


@node_app.command("start")
def node_start(name: str) -> None:
    """Bring a lost node back with the disk that it had."""
    Cluster.attach().start_node(name)


def main() -> None:
    """Run; a failure is a sentence, not a traceback."""
    try:
        app()
    except ClusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        sys.exit(1)
