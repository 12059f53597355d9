"""What the platform can find out about itself; `self_supervision` makes one reading of it, and rules judge that."""
