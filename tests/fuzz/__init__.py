"""Fuzzing: what a peer may send, thrown at everything that reads it.

`targets` is the table. With atheris ``make fuzz`` runs each for minutes, guided by coverage; the
suite replays the seeds and draws from the same grammar, so no target can rot.
"""
