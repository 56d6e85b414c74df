"""The labour: one stage per process, files in, files out."""

from distill_api import telemetry

telemetry.refuse()
