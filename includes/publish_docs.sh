version=${tag#{{ release_tag }}}
newest=$(git tag --list "{{ release_tag }}[0-9]*" --sort=-version:refname | head -n 1)
set -- --push{{ ' --deploy-prefix ' ~ image_name if folder }}
uv run mike deploy "$@" "${version%.*}"
if [ "$tag" = "$newest" ]; then
  uv run mike alias "$@" --alias-type copy --update-aliases "${version%.*}" latest
  uv run mike set-default "$@" latest
fi
