"""Sends held-out queries to both arms of a rollout and scores the answers in pairs."""
