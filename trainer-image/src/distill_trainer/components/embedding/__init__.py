"""Embedding: a text encoder learns from the cached embeddings of its teacher."""
