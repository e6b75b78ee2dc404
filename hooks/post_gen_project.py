"""Says what comes next. Everything random or slow is left to ``make setup``."""

print("""
Your project is in {{ cookiecutter.project_slug }}/. Next:

  cd {{ cookiecutter.project_slug }}
  make run      # sets it up, then serves it at http://127.0.0.1:8000; no key needed
  make test
  git init && git add --all && git commit --message "As generated"
""")
