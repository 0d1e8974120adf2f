if uv run python -c 'import {{ package_name }}.flows.tables as t; exit(not t.TABLES)'; then
  # Red unless a worker runs the new version to its end.
  uv run prefect deployment run ingest-all/{{ project_name }}-staging-manual --watch --watch-timeout 1800
else
  echo "Nothing runs on staging: flows/tables.py lists no table yet."
fi
