# What deploy/release and deploy/backup share; they source it in the folder of this file.
# shellcheck shell=bash

# shellcheck disable=SC2034 # used by those who source this
app=$(sed -n 's/^name: //p' compose.yaml) # also the name of the local images, whose tags are colours

die() {
  echo "$*" >&2
  exit 1
}

[[ -e .env && -e app.env && -d secrets/app ]] || die "run deploy/setup DOMAIN first"
mkdir -p state

compose() { docker compose --progress quiet "$@" </dev/null; }

# One release, rollback or restore at a time; the lock ends with the process.
only_one() {
  exec 9>state/lock
  flock --nonblock 9 || die "another release, rollback or restore is at work"
}

image_id() { docker image ls --quiet --no-trunc "$1"; }

# operate IMAGE ROLE COMMAND...: a one-off container as app, owner (who may change the schema) or superuser.
operate() {
  local image=$1 role=$2 mount=()
  shift 2
  case $role in
    owner) mount=(--volume "$PWD/secrets/owner/database_url:/run/secrets/database_url:ro") ;;
    superuser) mount=(--volume "$PWD/secrets/owner/superuser_url:/run/secrets/database_url:ro") ;;
  esac
  OPERATE_IMAGE=$image compose run --rm --no-deps -T --env "PGOPTIONS=${PGOPTIONS:-}" "${mount[@]}" operate "$@"
}

password() {
  local url
  url=$(<"$1")
  url=${url#*://*:}
  echo "${url%%@*}"
}

sql() { docker compose exec -T postgres psql --quiet --username postgres --dbname app "$@"; }

# The two roles with the passwords of deploy/secrets; may be run again.
roles() {
  {
    echo "\\set owner_password '$(password secrets/owner/database_url)'"
    echo "\\set app_password '$(password secrets/app/database_url)'"
    cat postgresql-roles.sql
    echo 'ALTER DATABASE app OWNER TO app_owner;' # a restore replaces the schema
  } | sql
}

has_schema() { [[ $(sql -Atc "SELECT to_regclass('alembic_version') IS NOT NULL" </dev/null) == t ]]; }

live_colour() { cat state/live 2>/dev/null || true; }

# Of the idle colour's process: ready | smoke | site. check.py says what is wrong.
ask() { docker compose exec -T "$1" python - "$2" <check.py; }
