"""Taintline inside a training process.

Started by `startup/sitecustomize.py` when the job imports torch; importing this package by itself does nothing. The law
of everything here: the guard never breaks or stalls the job, and training is bit-identical with and without it. So no
hook lets an exception of ours out, keeps a tensor alive, draws a random number, waits for an accelerator, or writes a
byte of the job's. What cannot be seen is said once, as a gap.
"""
