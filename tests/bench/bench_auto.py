"""The automatic interval against the closed-form optimum: ``python -m tests.bench.bench_auto``.

A loop is simulated that is killed at random moments (exponential, mean M) and started again, with saves that cost C.
The clock is a number, so that a year takes seconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from math import ceil, exp, expm1, inf

from resumable._models import CheckpointContext, SaveCosts, after_save, after_work, as_stored
from resumable._strategies import AutoStrategy

MINUTE, HOUR, DAY, WEEK = 60.0, 3600.0, 86400.0, 604800.0
FREE = AutoStrategy(max_overhead=0.95, max_interval_seconds=1e9, max_loss_seconds=1e9)
"""Bounds so wide that only the formulas decide."""


@dataclass
class Outcome:
    """What one simulated job took, in seconds.

    Attributes:
        work: What was to be done.
        charged: Time spent on saves that count; ``largest`` is the dearest of all.
        torn: Time spent on saves that a kill cut short.
    """

    work: float = 0.0
    total: float = 0.0
    charged: float = 0.0
    probes: float = 0.0
    torn: float = 0.0
    largest: float = 0.0
    saves: int = 0
    kills: int = 0


class Loop:
    """A loop of equal items, saved by a strategy, killed and restored until its work is done."""

    def __init__(
        self, strategy: AutoStrategy, *, between: float, save: float, item: float, jitter: float = 0.0, seed: int = 0
    ) -> None:
        self.strategy = strategy
        self.between, self.save, self.item, self.jitter = between, save, item, jitter
        self.random = random.Random(seed)
        self.outcome = Outcome()
        self.costs = self.stored = SaveCosts()
        self.stored_work = 0.0
        self.has_checkpoint = False

    def run(self, work: float, give_up_after: float = inf) -> Outcome:
        """Work until *work* seconds of it are done, or the job has taken *give_up_after* seconds."""
        self.outcome.work = work
        while self.stored_work < work and self.outcome.total < give_up_after:
            self._one_run(work)
        return self.outcome

    def _one_run(self, work: float) -> None:
        alive = self.random.expovariate(1 / self.between)
        done = self.stored_work
        while done < work:
            items = self._items_to_next_question(work - done)
            alive -= items * self.item
            if alive < 0:
                return self._killed(items * self.item + alive)
            self.outcome.total += items * self.item
            done += items * self.item
            self.costs = after_work(self.costs, items * self.item, items)
            if self.strategy.should_save(CheckpointContext(save_costs=self.costs)):
                seconds = self.save * self.random.lognormvariate(0, self.jitter)
                alive -= seconds
                if alive < 0:
                    self.outcome.torn += seconds + alive
                    return self._killed(seconds + alive)
                self._saved(seconds, done)
        self.stored_work = done
        return None

    def _items_to_next_question(self, work_left: float) -> int:
        seconds = min(self.strategy.plan(CheckpointContext(save_costs=self.costs)).seconds, work_left)
        return max(1, ceil(seconds / self.item))

    def _saved(self, seconds: float, done: float) -> None:
        if self.costs.save_seconds is None:
            self.outcome.probes += seconds
        else:
            self.outcome.charged += seconds
        self.outcome.total += seconds
        self.outcome.largest = max(self.outcome.largest, seconds)
        self.outcome.saves += 1
        self.stored, self.stored_work = as_stored(self.costs, charged=True), done
        self.has_checkpoint = True
        self.costs = after_save(self.costs, seconds, charged=True)

    def _killed(self, lived: float) -> None:
        self.outcome.total += lived
        self.outcome.kills += 1
        # A restore is known for good only once it is saved: the next kill may come before that.
        self.costs = replace(self.stored, restores=self.stored.restores + self.has_checkpoint)


def expected_total(work: float, interval: float, save: float, between: float) -> float:
    """Mean time of *work* saved each *interval*, killed each *between* seconds (Daly 2006, its complete model)."""
    return between * expm1((interval + save) / between) * work / interval


def optimal_interval(save: float, between: float) -> float:
    """The minimum of :func:`expected_total`: where ``1 - t/M = exp(-(t + C)/M)``, by bisection."""
    low, high = 0.0, between
    for _ in range(200):
        middle = (low + high) / 2
        if 1 - middle / between > exp(-(middle + save) / between):
            low = middle
        else:
            high = middle
    return high


def bounded_optimum(strategy: AutoStrategy, between: float, save: float) -> float:
    """The optimal interval, moved into the strategy's bounds; the bound on the overhead is the stronger one."""
    least = save * (1 - strategy.max_overhead) / strategy.max_overhead
    most = strategy.interval_seconds(SaveCosts(active_seconds=1e15, save_seconds=save))  # as if it were never killed
    return max(least, min(optimal_interval(save, between), most))


def simulate(strategy: AutoStrategy, between: float, save: float, *, jobs: int, saves: int) -> list[Outcome]:
    """*jobs* jobs of a hundred kills each, or fewer if that were more than about *saves* saves.

    But of one kill at least, unless that were four times as many saves: where they are cheap and kills are rare, a kill
    costs next to nothing.
    """
    interval = bounded_optimum(strategy, between, save)
    work = max(min(100 * between, saves * interval), min(between, 4 * saves * interval))
    item = min(interval, 300) / 50
    return [Loop(strategy, between=between, save=save, item=item, seed=seed).run(work) for seed in range(jobs)]


# -- the table --------------------------------------------------------------------------------------------------------

MEANS = {"1 min": MINUTE, "10 min": 10 * MINUTE, "1 h": HOUR, "1 day": DAY, "1 week": WEEK}
COSTS = {"1 ms": 0.001, "10 ms": 0.01, "100 ms": 0.1, "1 s": 1.0, "10 s": 10.0}


def main(jobs: int = 5, saves: int = 20_000) -> None:
    """Print the extra time over the unbounded optimum, and the share of the time that went into saves."""
    for title, strategy in (("default bounds: 1%, 300 s", AutoStrategy()), ("no bounds", FREE)):
        print(f"\n{title}\nkilled each  a save costs   optimum  in bounds: best     auto  every 300 s  saving")
        for mean, between in MEANS.items():
            for cost, save in COSTS.items():
                print(f"{mean:>11}  {cost:>12}  {_row(strategy, between, save, jobs, saves)}")


def _row(strategy: AutoStrategy, between: float, save: float, jobs: int, saves: int) -> str:
    best, bounded = optimal_interval(save, between), bounded_optimum(strategy, between, save)
    least = expected_total(1, best, save, between)
    if bounded > 3 * between:
        return f"{best:7.2f}s  out of reach: a save is allowed each {bounded:.0f} s only"
    in_bounds, each_300_s = (expected_total(1, t, save, between) / least - 1 for t in (bounded, 300))
    outcomes = simulate(strategy, between, save, jobs=jobs, saves=saves)
    auto = sum(outcome.total / outcome.work for outcome in outcomes) / jobs / least - 1
    saving = max(outcome.charged / outcome.total for outcome in outcomes)
    return f"{best:7.2f}s  {in_bounds:+15.1%}  {auto:+7.1%}  {each_300_s:+11.1%}  {saving:6.2%}"


if __name__ == "__main__":
    main()
