"""Models of devices: what each kind would report, second by second. They know no wire, clock or broker."""
