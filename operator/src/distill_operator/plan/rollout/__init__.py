"""Pure decisions about rollouts: which arm gets which share of the traffic, and why."""
