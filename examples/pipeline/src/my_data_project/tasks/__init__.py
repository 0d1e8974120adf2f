"""Tasks: one step of work each, over the plain functions of `common`."""
