"""Pure rendering of rollouts: arms, their Services, the route, the prober."""
