"""Serves an embedding model or reranker over HTTP, with the metrics a rollout is judged by."""
