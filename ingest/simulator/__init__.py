"""A simulated Microsoft cloud, and the audit that judges the daemon against its record.

Shares no code with what it judges: a bug must not hide in both.
"""
