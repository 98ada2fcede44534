"""The demo: four processes share one SQLite client and survive the death of their leader.

`run` conducts, `steps` says what is to be seen, `stage` starts and asks the processes,
`worker` is what each of them runs, `evidence` looks at what they left behind, `screen`
draws, and `command` is the command line.
"""
