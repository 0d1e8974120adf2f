"""What the commands of operations do; it comes with the template, as `common` does."""
