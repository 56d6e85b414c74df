"""When requests arrive: at random and on their own, as users do, and not when a server is free."""

import numpy as np
from numpy.typing import NDArray


def poisson(per_second: float, count: int, *, seed: int) -> NDArray[np.float64]:
    """Return the arrivals of a Poisson process, in seconds from its beginning: [count], rising.

    The times between them are exponential. Equal arguments give equal arrivals, so that every
    model is asked at the same moments.
    """
    generator = np.random.default_rng([seed, count])
    return np.cumsum(generator.exponential(1 / per_second, count))
