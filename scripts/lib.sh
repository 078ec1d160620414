# Shared by scripts/demo, scripts/test and .ci/run; sourced by bash, not run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# The Node of this project: package.json, engines.
need_node() {
  command -v node >/dev/null || die 'node is missing: install Node 20.19 or newer'
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    die "Node $(node -v) is too old: install Node 20.19 or newer"
  command -v npm >/dev/null || die 'npm is missing: install the npm that belongs to this Node'
}

# install_missing COMMAND:PACKAGE…, or FILE:PACKAGE: by apt-get where this is root, else say what to install.
install_missing() {
  local pair missing=()
  PATH=$PATH:/usr/sbin:/sbin
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || [ -e "${pair%%:*}" ] || missing+=("${pair#*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "missing: ${missing[*]}. Install these packages, or run this as root on Debian or Ubuntu"
  fi
  say "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } </dev/null >/dev/null ||
    die "apt-get could not install ${missing[*]}"
}

# What the addon is built with, HAProxy, and the tools that make namespaces.
install_base() {
  install_missing haproxy:haproxy g++:g++ make:make python3:python3 ip:iproute2 ss:iproute2 \
    unshare:util-linux nsenter:util-linux ps:procps
}

# Whether network namespaces can be made here; the reason where not.
need_namespaces() {
  local why
  why=$(unshare --net --mount --pid --fork --kill-child --mount-proc true 2>&1) ||
    die "network namespaces cannot be made here (${why}): run this as root, in a container with --privileged or --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined"
}

# The headers of the Node that runs this, where it brings them: then the addon is built without a download.
use_own_headers() {
  local prefix
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  if [ -z "${npm_config_nodedir:-}" ] && [ -e "$prefix/include/node/node_api.h" ]; then
    export npm_config_nodedir=$prefix
  fi
}

# Dependencies, the addon and dist/: bin/berth makes what is missing or older than its sources.
build() {
  need_node
  use_own_headers
  ./bin/berth --version </dev/null >/dev/null || die 'the build failed'
}

# fetch_haproxies VERSION…: those that are not the one in PATH, from Debian's suites into .cache.
fetch_haproxies() {
  local own version fetch=()
  own=$(own_haproxy)
  for version in "$@"; do
    if [ "$version" != "$own" ]; then fetch+=("$version"); fi
  done
  [ ${#fetch[@]} -gt 0 ] || return 0
  install_missing /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
  ./scripts/haproxy-versions "${fetch[@]}"
}

# counted FILE: the sums of the lines `PASSED FAILED` that tests leave there, as one such line.
counted() { awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' "$1"; }

own_haproxy() { haproxy -v | sed -nE '1s/^HA-?Proxy version ([0-9]+\.[0-9]+).*/\1/p'; }
