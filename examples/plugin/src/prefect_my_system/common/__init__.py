"""Plumbing that comes with the template and is kept current by `copier update`."""
