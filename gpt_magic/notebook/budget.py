"""How often a running display may be painted: in all, under one per cent of the run's time."""

import time
from collections import deque
from collections.abc import Callable

BUDGET = 0.01  # of the elapsed time may go into painting


class Budget:
    """The account of painting: what it cost, and what is due.

    Costs are processor time of the painting thread: waiting for the worker to let go of the interpreter costs
    the run nothing.

    Attributes:
        spent: seconds of processor time so far, first times left out.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.thread_time
    ) -> None:
        self.spent = 0.0
        self._clock, self._cpu = clock, cpu
        self._opened = clock()
        self._last: dict[str, float] = {}
        self._costs: dict[str, deque[float]] = {}

    def open(self) -> None:
        """Time starts to count."""
        self._opened = self._clock()

    def due(self, what: str, seconds: float) -> bool:
        """Whether ``what`` was last painted ``seconds`` ago, and painting it now keeps within the budget.

        After something expensive, such as new axes, the account may be overdrawn; then half the budget goes on
        being used, so that pictures come less often but do not stop.
        """
        if what not in self._last:
            return True
        now = self._clock()
        age = now - self._last[what]
        cost = self.cost(what)
        affordable = self.spent + cost <= BUDGET * (now - self._opened)
        return age >= (seconds if affordable else max(seconds, 2 * cost / BUDGET))

    def cost(self, what: str) -> float:
        """Seconds that painting ``what`` takes: the least of the last times; of one time alone nothing is known.

        New axes cost many times a repaint, and come just when the first losses do.
        """
        costs = self._costs.get(what, ())
        return min(costs) if len(costs) > 1 else 0.0

    def pay(self, what: str, paint: Callable[[], object]) -> None:
        """Paint and book the cost; the first time, which pays for imports and set-up, is free."""
        began = self._cpu()
        first = what not in self._last
        self._last[what] = self._clock()
        try:
            paint()
        finally:
            if not first:
                cost = self._cpu() - began
                self.spent += cost
                self._costs.setdefault(what, deque(maxlen=5)).append(cost)
