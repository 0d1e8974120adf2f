"""What can be added, one module each, named as its word.

A module gives `HELP`, `configure(parser)`, and `plan(work, arguments)`, which plans the changes of
the project's files and returns what to do next, line by line.
"""
