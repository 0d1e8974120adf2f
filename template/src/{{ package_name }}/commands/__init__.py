"""The words of the project's command, one module each, named as the word.

A module gives `HELP` (one line for the list of commands), `configure(parser)`, which declares
its arguments, and `run(arguments)`, which raises `PermanentError` for what the user can mend and
`TransientError` for what may pass by itself. What is slow to import is imported in `run`, so that
`--help` answers at once.
"""
