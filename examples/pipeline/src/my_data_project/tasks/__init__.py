"""The tasks: each is one step and calls plain functions of `common`."""
