"""What an operator does from a shell, beside running the daemon.

A command joins the rooms as `app.py` does, for a moment: it reads, asks the model what may be done, says
it in plain words on standard output, and writes. What it changes is a log event on standard error. It
knows no law of its own; where it refuses, it ends in an error of `ingest/errors.py` with an exit code.
"""
