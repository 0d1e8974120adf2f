uv sync --no-dev --no-editable --reinstall-package {{ project_name }}{% for extra in extras | reject('equalto', 'duckdb') %} --extra {{ extra }}{% endfor %}

