"""The project's images, built on this machine and named by their inputs."""
