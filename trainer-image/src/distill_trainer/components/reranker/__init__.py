"""Reranker: a student that orders documents learns from the scores of a cross-encoder."""
