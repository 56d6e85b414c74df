"""Batches: many requests, one worker, the right answers to the right callers."""
