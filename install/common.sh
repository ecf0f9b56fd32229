# Functions that the other scripts share. Do not run it directly.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${SLAF_VENV:-$root/.venv}

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
stop() { printf 'slaf: %s\n' "$*" >&2; exit 1; }

# need COMMAND DEBIAN_PACKAGE: remembers the package if the command is missing.
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }

prerequisites() {
  need protoc protobuf-compiler
  need mold mold
  need cc gcc
  if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      say "Installing ${missing[*]}"
      apt-get update -qq >&2 || stop "apt-get update failed; install ${missing[*]} by hand."
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >&2 ||
        stop "apt-get could not install ${missing[*]}."
    else
      stop "these packages are missing: ${missing[*]}. Install them with your system's package manager (names are Debian's)."
    fi
  fi
  command -v cargo >/dev/null ||
    stop "the Rust toolchain is missing. Install Rust 1.95 or newer from https://rustup.rs."
  local rust
  rust=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n1.95.0\n' "$rust" | sort -V | head -n1)" = 1.95.0 ] ||
    stop "Rust $rust is too old; 1.95 or newer is needed (rustup update)."
  command -v python3 >/dev/null || stop "python3 is missing. Install Python 3.10 or newer."
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    stop "$(python3 --version) is too old; 3.10 or newer is needed."
}

# make_venv DIR: a virtual environment with uv in it, unless it is there.
make_venv() {
  if [ ! -x "$1/bin/uv" ]; then
    python3 -m venv "$1" ||
      stop "python3 cannot make a virtual environment (on Debian: apt-get install python3-venv)."
    "$1/bin/python" -m pip install --quiet uv || stop "pip could not install uv."
  fi
}

# add DIR PACKAGE…: packages into a virtual environment.
add() {
  local at=$1
  shift
  "$at/bin/uv" pip install --quiet --python "$at/bin/python" "$@" ||
    stop "these Python packages could not be installed: $*"
}
