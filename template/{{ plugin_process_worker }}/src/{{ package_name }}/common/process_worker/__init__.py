"""A worker that runs flow runs as local processes, within limits. Linux only."""
