{% if ref and not delivers_image %}
{% include 'includes/has_deploy.sh' %}
{% endif %}
if [ "$GITHUB_EVENT_NAME" = push ]; then
  deployed=$(uv run {{ project_name }} deploy --deployed)
  for commit in $deployed; do
    if [[ $(git rev-parse HEAD) != "$commit"* ]] && git merge-base --is-ancestor HEAD "$commit"; then
      echo "::error::$commit is deployed, and newer. To roll back, run this workflow by hand." && exit 1
    fi
  done
fi
{% if work_pool_type == 'process' %}
if [ -n "$WORKER_ENVIRONMENT" ]; then
  uv run {{ project_name }} deploy --plan --exit-zero # stops at a mistake before the worker changes
  UV_PROJECT_ENVIRONMENT=$WORKER_ENVIRONMENT {% include 'includes/install.sh' %}
fi
{% endif %}
uv run {{ project_name }} deploy --prune
