"""The operator's and the trainer's images, built on this machine and named by their inputs."""
