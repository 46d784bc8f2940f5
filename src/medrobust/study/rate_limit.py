"""Failed attempts to come in: after a few, an address waits."""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class RateLimit:
    """At most `limit` failures of one address in any `window` seconds.

    Times are seconds of a clock that never goes backwards, passed in. What succeeds doesn't
    count. Behind a proxy that hides them all readers have one address: so the limit is generous;
    tokens of 256 bits need no strict one.
    """

    limit: int = 10
    window: float = 60.0
    most_addresses: int = 10_000
    """Beyond which the one that failed first is forgotten."""
    _failures: dict[str, deque[float]] = field(default_factory=dict)

    def wait(self, address: str, now: float) -> float:
        """Seconds until this address may try again: 0 if it may now."""
        times = self._failures.get(address)
        while times and now - times[0] >= self.window:
            times.popleft()
        if times is None or len(times) < self.limit:
            return 0.0
        return self.window - (now - times[0])

    def failed(self, address: str, now: float) -> None:
        """Count a failure."""
        times = self._failures.setdefault(address, deque(maxlen=self.limit))
        times.append(now)
        if len(self._failures) > self.most_addresses:
            self._failures.pop(next(iter(self._failures)))
