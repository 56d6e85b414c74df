"""The trials of a sweep, kept in a journal beside their results, so that none is lost or repeated.

Samplers and pruner are Optuna's (Akiba et al. 2019, arXiv:1907.10902).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Final

import optuna
from distill_api.training import Sweep, SweepAlgorithm
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution as Listed
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

NAME: Final = "sweep"
JOURNAL: Final = "journal.log"
TURN: Final = "turn"
"""Lock of whoever chooses a trial."""
FIRST_TRIALS: Final = 4
"""Never pruned, and drawn at random before the Bayesian sampler has something to go by."""

type Space = dict[str, BaseDistribution]


def opened(folder: Path, sweep: Sweep) -> optuna.Study:
    """Open the study whose journal is in a folder, or begin it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / JOURNAL)
    # Links are not made on every volume that pods share; a lock file that is opened is enough.
    storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
    return optuna.create_study(
        study_name=NAME,
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        pruner=_pruner(sweep),
    )


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Let one pod at a time choose its next trial, so that no two take the same."""
    lock = JournalFileOpenLock(str(folder / TURN))
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def following(
    study: optuna.Study, space: Space, sweep: Sweep, *, seed: int, free: Callable[[int], bool]
) -> Trial | None:
    """Return the trial to train next: one that was interrupted, else a new one; None at the end.

    What is drawn depends on the seed and on the trials so far, not on when pods were lost.
    free: claims a trial by its number; False where another pod trains it.
    """
    begun = [t for t in study.get_trials(deepcopy=False) if t.state is not TrialState.WAITING]
    for trial in begun:
        if trial.state is TrialState.RUNNING and free(trial.number):
            return Trial(study, trial._trial_id)  # noqa: SLF001 - no public way to go on
    if len(begun) >= sweep.max_trials:
        return None
    if sweep.algorithm is SweepAlgorithm.GRID:
        made = _next_of_grid(study, space)
    else:
        study.sampler = _sampler(sweep, seed + len(begun))
        made = study.ask(space)
    if made is not None:
        free(made.number)
    return made


def counts(study: optuna.Study) -> tuple[int, int]:
    """Count the trials that have ended, and those that are being trained."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return sum(state.is_finished() for state in states), states.count(TrialState.RUNNING)


def _next_of_grid(study: optuna.Study, space: Space) -> Trial | None:
    """Return the next combination, in their order; None when all were begun."""
    if not study.get_trials(deepcopy=False):
        choices = [found.choices for found in space.values() if isinstance(found, Listed)]
        for values in product(*choices):
            study.enqueue_trial(dict(zip(space, values, strict=True)))
    waiting = study.get_trials(deepcopy=False, states=[TrialState.WAITING])
    return study.ask(space) if waiting else None


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were trained to the end, best first; the earlier one of equals."""
    complete = study.get_trials(states=[TrialState.COMPLETE])
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def _sampler(sweep: Sweep, seed: int) -> BaseSampler:
    if sweep.algorithm is SweepAlgorithm.RANDOM:
        return RandomSampler(seed=seed)
    # A constant liar takes trials that are being trained for bad ones, so that those side by side
    # do not all try the same place.
    return TPESampler(
        seed=seed,
        multivariate=True,
        n_startup_trials=FIRST_TRIALS,
        constant_liar=sweep.parallel_trials > 1,
    )


def _pruner(sweep: Sweep) -> BasePruner:
    return MedianPruner(n_startup_trials=FIRST_TRIALS) if sweep.prune else NopPruner()
