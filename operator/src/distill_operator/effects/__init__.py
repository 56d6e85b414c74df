"""Everything that touches the world: the API server, time, the network."""
