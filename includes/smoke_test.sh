if uv run python -c 'import {{ package_name }}.flows.tables as t; exit(not t.TABLES)'; then
  # Fails unless a worker runs the new version successfully.
  uv run prefect deployment run ingest-all/{{ project_name }}-staging-manual --watch --watch-timeout 1800
else
  echo "Nothing to run on staging: flows/tables.py lists no table yet."
fi
