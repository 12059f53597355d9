"""Models of devices: the reports of each kind, second by second. They are independent of wire, clock and broker."""
