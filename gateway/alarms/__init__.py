"""When an alarm is raised, what its states are, who acknowledged it."""
