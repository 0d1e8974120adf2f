GITHUB_SHA=$(git rev-parse HEAD) && export GITHUB_SHA # this version's, not the workflow's
# uv on a runner of yours may have this project in its cache, as it was before.
uv run --reinstall-package {{ project_name }} {{ project_name }} deploy --plan --json > plan.json || [ $? = 2 ]
[ -s plan.json ] # uv, too, exits with 2
deployed=$(grep -o '+g[0-9a-f]*": [0-9]' plan.json | cut -c 3-10)
for commit in $deployed; do
  if [ "$GITHUB_EVENT_NAME" = push ] && [ "${GITHUB_SHA:0:8}" != "$commit" ] && git merge-base --is-ancestor HEAD "$commit"; then
    echo "::error::$commit is deployed, and newer. To go back, run this workflow by hand." && exit 1
  fi
done
{% if work_pool_type == 'process' %}
if [ -n "$WORKER_ENVIRONMENT" ]; then
  UV_PROJECT_ENVIRONMENT=$WORKER_ENVIRONMENT {% include 'includes/install.sh' %}
fi
{% endif %}
uv run {{ project_name }} deploy --prune
