if [ ! -f src/{{ package_name }}/commands/deploy.py ]; then
  echo "::error::This version has no command deploy: roll back to a newer one, or check it out and follow its docs/operations.md."
  exit 1
fi
