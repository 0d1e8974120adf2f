"""The subcommands of the project, one module each, named like the subcommand.

A module has `HELP` (one line for the list of commands), `configure(parser)`, which declares its
arguments, and `run(arguments)`, which raises `PermanentError` for what the user can fix and
`TransientError` for temporary failures. Put slow imports into `run`, so that `--help` stays fast.
"""
