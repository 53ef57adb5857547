"""What every part of the core is given: time, chance, effects, timers, procedures, spans."""
