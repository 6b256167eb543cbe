"""What a run may spend. Asked before a unit of work is begun; whatever has begun is finished."""

from __future__ import annotations

import time
from collections.abc import Callable

from genixer.config import Costs
from genixer.errors import BudgetSpentError, ConfigError

__all__ = ["Budget"]


class Budget:
    """Money and time that one command may spend; without limits it always has room.

    Both are counted from the beginning of the command, so that the same command again goes on with
    as much. Money is counted when a unit of work is committed, and a unit is begun only while the
    mean of those so far fits in: what is overspent is at most the units in flight.

    >>> budget = Budget(max_cost=1.0)
    >>> budget.begin(Costs(output_per_million=2.0))
    >>> budget.room(0)
    >>> budget.charge(0.4)
    >>> budget.room(0), budget.room(1)
    (1, 0)
    """

    def __init__(
        self,
        max_cost: float | None = None,
        max_hours: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Allow `max_cost` in the currency of the config, `max_hours` on the clock."""
        self._max_cost, self._max_hours, self._clock = max_cost, max_hours, clock
        self._began = clock()
        self._costs = Costs()
        self._paid = 0
        self.spent = 0.0
        """Money so far."""

    def begin(self, costs: Costs) -> None:
        """Start counting; raises `ConfigError` where money has a limit and nothing a price."""
        if self._max_cost is not None and costs.free:
            raise ConfigError(
                "--max-cost needs prices: set costs.input_per_million and costs.output_per_million "
                "(a server), or costs.per_hour (machines)"
            )
        self._costs, self._began = costs, self._clock()

    def charge(self, cost: float) -> None:
        """Count a committed unit of work."""
        if cost > 0:
            self.spent += cost
            self._paid += 1

    def room(self, running: int) -> int | None:
        """How many units may be begun besides those `running`; None for any number."""
        if self._max_hours is not None and self._hours >= self._max_hours:
            return 0
        if self._max_cost is None or not self._paid:
            return None if self._max_cost != 0 else 0
        return max(0, int((self._max_cost - self.spent) / (self.spent / self._paid)) - running)

    @property
    def _hours(self) -> float:
        return (self._clock() - self._began) / 3600

    def error(self) -> BudgetSpentError:
        """What the run ends with when there is no room."""
        said = []
        if self._max_cost is not None:
            money = f"{self.spent:.4g} of {self._max_cost:.4g} {self._costs.currency}"
            said.append(f"{money} (--max-cost)")
        if self._max_hours is not None:
            said.append(f"{self._hours:.3g} of {self._max_hours:.3g} hours (--max-hours)")
        return BudgetSpentError(
            f"stopped by its budget: spent {' and '.join(said)}; everything begun is committed: "
            "run the same command again to go on"
        )
