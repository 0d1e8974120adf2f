"""The subcommands of the project, one module each, named like the subcommand.

A module has `HELP` (one line for the list of commands), `configure(parser)`, which declares its
arguments, and `run(arguments)`, which raises `PermanentError` for what the user can fix and
`TransientError` for what may pass by itself. Slow imports go into `run`, so that `--help` answers
at once.
"""
