"""Losses of an embedding student: pure functions of tensors, one subject a file."""
