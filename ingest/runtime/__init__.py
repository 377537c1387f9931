"""The process: supervised tasks, one bounded shutdown, health."""
