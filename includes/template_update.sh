# Expands Copier's shortcuts of URLs.
source=$(sed -nE "/^_src_path:/{s/^_src_path: *|[\"']//g; s#^git\+##; s#^gh:#https://github.com/#; s#^gl:#https://gitlab.com/#; p}" .copier-answers.yml)
git clone --quiet "$source" "$work/template" || {
  echo "The template named as _src_path in .copier-answers.yml cannot be read."
  exit 1
}
release=$(git -C "$work/template" tag --sort=v:refname | sed -nE '/^v?[0-9.]+$/p' | tail -n 1)
git -C "$work/template" checkout --quiet "${release:-HEAD}"
git switch --quiet --create template-update
code=0
uv run --script "$work/template/hooks/update.py" . > "$work/verdict.txt" || code=$?
cat "$work/verdict.txt"
# Nothing to do, or refused.
if [ -z "$(git status --porcelain)" ]; then exit "$code"; fi
sed -E '1s/.*\(branch [^)]*\): //; /^See it: /d; s/^/    /' "$work/verdict.txt" > "$work/text.md"
