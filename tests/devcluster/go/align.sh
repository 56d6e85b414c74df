#!/usr/bin/env bash
# Pin what several programs are made of at one version, the highest that any of them asks for: the
# compiler then makes its packages once for all of them. Run after each new version of a program.
set -euo pipefail
cd "$(dirname "$0")"
export GOFLAGS=
WORK=$(mktemp -d)
trap 'rm -r "$WORK"' EXIT

# runc is left out: it is built with cgo, so it shares no package with the others.
MODULES=$(ls -d */ | grep -v '^runc/$')

# CEL decides which objects the API server accepts: it keeps the version it was released with.
OWN=(kubernetes:github.com/google/cel-go)

# Print the version that all modules together select of each module that one of them needs.
selected() {
    rm -f "$WORK"/go.work*
    export GOWORK=$WORK/go.work
    go work init $(printf "$PWD/%s " $MODULES)
    go list -m -f '{{if not .Main}}{{.Path}} {{.Version}}{{end}}' all
}

# The module's requirements; kubernetes' own parts stand there at v0.0.0 and are replaced.
pins() { sed -n 's/^\t\([^ ]*\) \(v[^ ]*\).*/\1 \2/p' "$1/go.mod" | grep -v ' v0\.0\.0$'; }

# Print what has to be raised in one module, as `go get` wants it.
lower() {
    awk -v module="$1" -v own="${OWN[*]}" '
        NR == FNR { selected[$1] = $2; next }
        index(own " ", module ":" $1 " ") { next }
        $1 in selected && selected[$1] != $2 { print $1 "@" selected[$1] }
    ' "$WORK/selected" <(pins "$1")
}

# Raise what is too low, and write only the checksums that are needed.
raise() (
    cd "$1"
    export GOWORK=off
    go get "${@:2}"
    rm go.sum
    if [ -e main.go ]; then go list -mod=mod -deps .; else go list -mod=mod -deps tool; fi >"$WORK/packages"
)

# What is raised may bring requirements that were not there before.
for round in 1 2 3 4 5; do
    selected >"$WORK/selected"
    changed=
    for module in $MODULES; do
        module=${module%/}
        mapfile -t words < <(lower "$module")
        [ ${#words[@]} -eq 0 ] && continue
        echo "round $round, $module: ${words[*]}"
        raise "$module" "${words[@]}"
        changed=yes
    done
    [ -n "$changed" ] || exit 0
done
echo "align.sh: versions still differ after $round rounds" >&2
exit 1
