"""Speed and position of a lift car between two stops: it accelerates, runs at rated speed, brakes."""

import math

import msgspec


class Travel(msgspec.Struct, frozen=True):
    """One run of the car.

    `distance` in m, always positive; `rated_speed` in m/s; `acceleration` in m/s², at most 1.5 for people's
    comfort (GB 50182).
    """

    distance: float
    rated_speed: float
    acceleration: float = 0.8

    @property
    def top_speed(self) -> float:
        """Rated speed, or less where the run is too short to reach it; m/s."""
        return min(self.rated_speed, math.sqrt(self.distance * self.acceleration))

    @property
    def duration(self) -> float:
        """Seconds from start to stop."""
        return self.distance / self.top_speed + self.top_speed / self.acceleration

    def speed(self, elapsed_s: float) -> float:
        """Speed in m/s after so many seconds."""
        from_ends = min(elapsed_s, self.duration - elapsed_s)
        return max(0.0, min(self.top_speed, from_ends * self.acceleration))

    def travelled(self, elapsed_s: float) -> float:
        """Metres from the start after so many seconds."""
        if elapsed_s >= self.duration:
            return self.distance
        if elapsed_s > self.duration / 2:
            return self.distance - self.travelled(self.duration - elapsed_s)
        ramp_s = self.top_speed / self.acceleration
        if elapsed_s <= ramp_s:
            return self.acceleration * elapsed_s**2 / 2
        return self.top_speed * (elapsed_s - ramp_s / 2)
