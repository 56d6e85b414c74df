#!/usr/bin/env bash
# Install what a Debian or Ubuntu machine lacks to build, test and demonstrate kubedistill.
#
# Usage: setup.sh [STEP...]      steps: packages go uv python environment programs; without one, all
# Run again at any time: what is there stays as it is.
# ACCELERATOR=cuda|cpu says whether the virtual environment gets the 4 GB of CUDA libraries;
# the default looks for an NVIDIA device.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kubedistill
VENV=$ROOT/.venv

# git: the revision in image labels. make, gcc, libc6-dev, libseccomp-dev, pkg-config: runc is
# partly C; gcc also makes the CUDA stand-ins. iproute2, nftables, conntrack, util-linux, mount,
# containernetworking-plugins: nodes, pods and services. buildah, debootstrap: images.
# busybox-static: the cluster's helper image. python3-venv: a place for uv.
PACKAGES=(
    git ca-certificates make gcc libc6-dev libseccomp-dev pkg-config
    iproute2 nftables conntrack util-linux mount containernetworking-plugins
    buildah debootstrap busybox-static python3-venv
)

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

# Say whether the first version is at least the second.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    # Another apt at work is waited for rather than failed on.
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=600 "$@" >/dev/null
}

step_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        say "Debian packages ok (already there)"
        return
    fi
    say "installing Debian packages: ${missing[*]}"
    apt_install "${missing[@]}"
}

# Outside the project, where no go.mod makes Go switch to another version of itself.
go_version() { (cd / && "$1" version) | sed 's/^go version go\([0-9.]*\).*/\1/'; }

# The newest Go that one of the cluster's programs asks for.
go_needed() {
    sed -n 's/^go \([0-9.]*\).*/\1/p' "$ROOT"/tests/devcluster/go/*/go.mod | sort -V | tail -1
}

step_go() {
    local found
    if found=$(type -P go) && at_least "$(go_version "$found")" 1.21; then
        # From 1.21 on Go fetches the toolchain that a module asks for by itself.
        say "Go $(go_version "$found") ok (already there)"
        return
    fi
    if ! found=$(type -P go); then
        say "installing Debian's Go: the cluster's programs are built from Go modules"
        apt_install golang-go
        found=$(type -P go)
    fi
    at_least "$(go_version "$found")" 1.21 || newer_go "$found"
}

# Debian 12's Go 1.19 cannot switch toolchains, but it can fetch one: it is a Go module like others.
newer_go() {
    local needed module folder
    needed=$(go_needed)
    module=golang.org/toolchain@v0.0.1-go$needed.linux-$("$1" env GOARCH)
    say "fetching Go $needed: the pinned modules need it and Debian's is $(go_version "$1")"
    folder=$(cd / && "$1" mod download -json "$module" | sed -n 's/^\s*"Dir": "\(.*\)",*$/\1/p')
    [ -n "$folder" ] || fail "the Go module proxy has no $module; install Go >= $needed by hand"
    # Module files carry no execute bit.
    chmod -R u+w "$folder"
    chmod a+x "$folder"/bin/* "$folder"/pkg/tool/*/*
    ln -sf "$folder/bin/go" /usr/local/bin/go
    hash -r
}

step_uv() {
    if uv --version >/dev/null 2>&1; then
        say "$(uv --version | cut -d' ' -f1,2) ok (already there)"
        return
    fi
    say "installing uv into $CACHE/tools/uv: it installs the locked Python packages"
    python3 -m venv "$CACHE/tools/uv"
    "$CACHE/tools/uv/bin/pip" install --quiet 'uv>=0.9'
    ln -sf "$CACHE/tools/uv/bin/uv" /usr/local/bin/uv
}

# Print a Python that the project can use, or nothing; 3.13, which the images run, before others.
find_python() {
    local version candidate
    usable "$VENV/bin/python" && return
    for version in 3.13 3.12 3; do
        for candidate in "python$version" \
            "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python3 \
            "$(uv python find --no-project --managed-python "$version" 2>/dev/null)"; do
            usable "$candidate" && return
        done
    done
    return 0
}

# Print the real path of a Python if it runs and has a version the project supports.
usable() {
    "$1" -c 'import os, sys
print(os.path.realpath(sys.executable)) if (3, 12) <= sys.version_info < (3, 15) else sys.exit(1)' \
        2>/dev/null
}

step_python() {
    local found
    found=$(find_python)
    if [ -n "$found" ]; then
        say "Python $("$found" -c 'import platform; print(platform.python_version())') ok (already there)"
        return
    fi
    say "installing Python 3.13 by uv: the project needs 3.12 to 3.14"
    uv python install --quiet 3.13 || fail "uv found no Python 3.13 to install;" \
        "install Python 3.12, 3.13 or 3.14 by hand so that it is on PATH, and run this again"
}

accelerator() {
    if [ -n "${ACCELERATOR:-}" ]; then
        echo "$ACCELERATOR"
    elif [ -e /dev/nvidiactl ]; then
        echo cuda
    else
        echo cpu
    fi
}

# Without a GPU the same packages are left out as in the CPU image, by the same list.
packages_left_out() {
    [ "$(accelerator)" = cpu ] || return 0
    comm -23 <(names trainer-image/requirements-cuda.txt) <(names trainer-image/requirements-cpu.txt) |
        sed 's/^/--no-install-package=/'
}

names() { sed -n 's/^\([a-z0-9.-]*\)==.*/\1/p' "$ROOT/$1" | sort; }

step_environment() {
    local arguments stamp
    mapfile -t arguments < <(packages_left_out)
    arguments=(--directory "$ROOT" --all-extras --frozen --inexact "${arguments[@]}")
    stamp=$(cat "$ROOT/uv.lock" "$ROOT/trainer-image/cpu/cuda_stubs.py" | sha256sum | cut -c1-16)
    stamp=$(accelerator)-$stamp
    if [ "$(cat "$VENV/.setup" 2>/dev/null)" = "$stamp" ] &&
        uv sync --quiet --check "${arguments[@]}" 2>/dev/null; then
        say "Python packages ok (already there)"
        return
    fi
    say "installing the locked Python packages into .venv ($(accelerator) flavour)"
    uv sync --quiet --python "$(find_python)" "${arguments[@]}"
    if [ "$(accelerator)" = cpu ]; then
        "$VENV/bin/python" "$ROOT/trainer-image/cpu/cuda_stubs.py" \
            "$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    fi
    echo "$stamp" >"$VENV/.setup"
}

step_programs() {
    say "building the cluster's programs where they are missing (minutes the first time)"
    (cd "$ROOT" && "$VENV/bin/python" -m devcluster build)
}

main() {
    [ "$(id -u)" -eq 0 ] || fail "installing packages and raising a cluster need root:" \
        "run it as root, for example with sudo"
    type -P apt-get >/dev/null || fail "this is no Debian or Ubuntu: there is no apt-get;" \
        "install by hand: ${PACKAGES[*]}, Go >= $(go_needed), uv, Python 3.13"
    local step
    for step in "$@"; do
        case $step in
        packages | go | uv | python | environment | programs) "step_$step" ;;
        *) fail "there is no step $step; the steps are packages go uv python environment programs" ;;
        esac
    done
}

[ $# -gt 0 ] || set -- packages go uv python environment programs
main "$@"
