"""Effects of rollouts: what is seen of arms, route and counters, and what is written."""
