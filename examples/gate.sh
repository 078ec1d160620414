#!/bin/sh
# A gate: exit status 0 only if this host can serve every one of these listeners.
#
#   gate.sh tcp:10.0.0.1:443 tcp:10.0.0.1:8000-8010
#
# Asks the agent over its unix socket (BERTH_SOCKET). 1: something cannot be served; 2: there was no answer.
set -eu

socket=${BERTH_SOCKET:-/run/berth/berth.sock}
targets=
for target in "$@"; do
  case $target in
    *[!][A-Za-z0-9:.*%_-]*)
      echo "gate: not an endpoint: $target" >&2
      exit 2
      ;;
  esac
  targets="$targets${targets:+,}\"$target\""
done
if [ -z "$targets" ]; then
  echo 'usage: gate.sh tcp:ADDRESS:PORT...' >&2
  exit 2
fi

answer=$(curl --silent --show-error --max-time 30 --unix-socket "$socket" http://localhost/v1/preflight \
  --header 'content-type: application/json' --data "{\"targets\":[$targets]}") || exit 2
case $answer in
  '{"ok":true,'*) ;;
  '{"ok":false,'*)
    # One sentence a listener: what is the matter, who holds it, what to do.
    printf '%s\n' "$answer" | grep -o '"servable":false[^}]*"sentence":"[^"]*"' | sed 's/.*"sentence":"/gate: /; s/"$//' >&2
    exit 1
    ;;
  *)
    printf 'gate: %s\n' "$answer" >&2
    exit 2
    ;;
esac
