"""The forecast against the truth, beside tqdm and rich: ``python -m tests.bench.bench_eta``.

A loop over an API with a quota is played on a virtual clock, through a stop and its waits. At chosen moments each one
says how long it will take; how long it took is known at the end.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress as RichBar
from tqdm import tqdm

from resumable._report.terminal.forecast import Forecaster, QuotaLook


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A loop to be played; times in seconds.

    Attributes:
        stops: After which items the run ends, and how long it is until the next one begins.
        margin: What each wait lasts beyond the reset.
        used_before: Requests and seconds of a window that others have opened before.
    """

    name: str
    requests_per_item: float = 1.0
    total: int = 10_000
    limit: int = 5_000
    window: float = 3600.0
    item: float = 0.3
    margin: float = 0.0
    stops: dict[int, float] = field(default_factory=dict)
    used_before: tuple[int, float] = (0, 0.0)
    looks_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """What each one said at one moment, in seconds left; None where it said nothing."""

    label: str
    truth: float
    ours: float | None
    waits: int
    tqdm: float | None
    rich: float | None


class Server:
    """Counts a quota as GitHub does: a window opens with its first request."""

    def __init__(self, scenario: Scenario, now: float) -> None:
        self.scenario = scenario
        used, ago = scenario.used_before
        self.remaining = scenario.limit - used
        self.reset_at = now - ago + scenario.window if used else 0.0

    def request(self, now: float) -> bool:
        """Whether it was answered; if not, the quota is used up."""
        if now >= self.reset_at:
            self.remaining, self.reset_at = self.scenario.limit, now + self.scenario.window
        if self.remaining == 0:
            return False
        self.remaining -= 1
        return True


class Play:
    """One scenario, from its first run to its end. ``now`` is what the clock shows."""

    def __init__(self, scenario: Scenario, *, keeps_forecast: bool = True) -> None:
        self.scenario = scenario
        self.keeps_forecast = keeps_forecast
        self.now = 1_000_000_000.0
        self.server = Server(scenario, self.now)
        self.done = self.used = 0
        self.begin_run(None)

    def begin_run(self, before: Forecaster | None) -> None:
        """A new process: it knows what the one before saved."""
        scenario, saved = self.scenario, before.to_dict() if before is not None and self.keeps_forecast else None
        self.forecaster = Forecaster(self.done, self.done * scenario.item, saved)
        # smoothing, interval and miniters are tqdm's own; only its clock is ours.
        self.tqdm = tqdm(total=scenario.total, initial=self.done, file=io.StringIO(), ncols=80)
        self.tqdm._time = lambda: self.now
        self.tqdm.start_t = self.tqdm.last_print_t = self.now
        console = Console(file=io.StringIO(), force_terminal=True)
        self.rich = RichBar(console=console, auto_refresh=False, get_time=lambda: self.now)
        self.rich_task = self.rich.add_task("", total=scenario.total, completed=self.done)

    def end_run(self) -> None:
        self.tqdm.close()
        self.begin_run(self.forecaster)

    def play(self) -> list[Moment]:
        """All chosen moments, and one in the middle of each wait."""
        said = [(self.now, *self._estimates(label)) for label in self._moments()]
        end = self.now
        self.tqdm.close()
        return [Moment(label, end - at, *estimates) for at, label, *estimates in said]

    def _moments(self) -> Iterator[str]:
        scenario = self.scenario
        for item in range(1, scenario.total + 1):
            for _ in range(int(item * scenario.requests_per_item) - int((item - 1) * scenario.requests_per_item)):
                if not self.server.request(self.now):
                    yield from self._wait()
                    self.server.request(self.now)
                self.used += 1
            self._end_item(item)
            if item in scenario.looks_at:
                yield f"after item {item:,}"
            if item in scenario.stops:
                self.now += scenario.stops[item]
                self.end_run()

    def _wait(self) -> Iterator[str]:
        # In the middle of an item the clock stands at its beginning: its time is still to come.
        middle = (self.now + self.server.reset_at + self.scenario.margin) / 2
        until, self.now = self.server.reset_at + self.scenario.margin, middle
        self._look()
        yield f"waiting at {self.done:,}"
        self.now = until

    def _end_item(self, item: int) -> None:
        self.now += self.scenario.item
        self.done = item
        self._look()
        self.tqdm.update(1)
        self.rich.update(self.rich_task, advance=1)

    def _look(self) -> None:
        quota = QuotaLook(
            name="core",
            limit=self.scenario.limit,
            remaining=self.server.remaining,
            reset_at=self.server.reset_at,
            used=self.used,
        )
        self.forecaster.look(self.done, self.done * self.scenario.item, [quota], now=self.now)

    def _estimates(self, label: str) -> tuple[str, float | None, int, float | None, float | None]:
        ours = self.forecaster.forecast(self.scenario.total, now=self.now, margin_seconds=self.scenario.margin)
        return label, ours.seconds_left, ours.waits, self._tqdm_left(), self.rich.tasks[0].time_remaining

    def _tqdm_left(self) -> float | None:
        said = self.tqdm.format_dict
        rate = said["rate"] or ((said["n"] - said["initial"]) / said["elapsed"] if said["elapsed"] else None)
        return (said["total"] - said["n"]) / rate if rate else None


SCENARIOS = (
    Scenario(name="1 request an item, no stop", looks_at=(100, 3_001, 5_001)),
    Scenario(name="1 request an item, stopped for 10 min", looks_at=(3_001, 5_001), stops={3_000: 600}),
    Scenario(name="1.2 requests an item, no stop", requests_per_item=1.2, looks_at=(100, 3_001, 4_168, 5_001, 9_000)),
    Scenario(
        name="1.2 requests an item, stopped for 10 min",
        requests_per_item=1.2,
        looks_at=(100, 3_001, 4_168, 5_001, 9_000),
        stops={3_000: 600},
    ),
    Scenario(
        name="1.2 requests an item, 1,000 requests gone in the 30 min before",
        requests_per_item=1.2,
        looks_at=(100, 3_001, 3_400, 5_001, 9_000),
        used_before=(1_000, 1_800.0),
    ),
    Scenario(
        name="3 s windows of 400",
        requests_per_item=1.2,
        total=4_000,
        limit=400,
        window=3.0,
        item=0.002,
        margin=1.0,
        looks_at=(100, 2_000),
    ),
)


def clock(seconds: float | None) -> str:
    """Hours and minutes, cut off as clocks do."""
    return (
        "none" if seconds is None else f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02}:{int(seconds % 60):02}"
    )


def error(said: float | None, truth: float) -> str:
    """By how much it is off."""
    return "-" if said is None else f"{(said - truth) / truth:+.1%}"


def main() -> None:
    """Print what each one said, and by how much it was off."""
    for scenario in SCENARIOS:
        print(
            f"\n{scenario.name}\n{'':>20}{'truth':>10}{'ours':>10}{'off':>8}{'waits':>7}{'tqdm':>12}{'off':>11}{'rich':>10}{'off':>8}"
        )
        for m in Play(scenario).play():
            print(
                f"{m.label:>20}{clock(m.truth):>10}{clock(m.ours):>10}{error(m.ours, m.truth):>8}{m.waits:>7}"
                f"{clock(m.tqdm):>12}{error(m.tqdm, m.truth):>11}{clock(m.rich):>10}{error(m.rich, m.truth):>8}"
            )


if __name__ == "__main__":
    main()
