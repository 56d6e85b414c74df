"""Serves an embedding model or reranker over HTTP, with the metrics a rollout is judged by."""

from distill_api import telemetry

telemetry.refuse()
