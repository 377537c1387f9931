"""Values and laws: instants, tenants, alerts, memory, windows, sweeps, budgets, checkpoints.

No I/O, no clock, no chance: time and randomness are arguments. Standard library only.
"""
