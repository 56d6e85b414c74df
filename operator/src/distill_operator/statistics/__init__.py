"""Pure statistics of a rollout: from counts and paired scores to verdicts with numbers."""
