"""A worker that runs flow runs as processes of its own machine, within limits. Linux only."""
