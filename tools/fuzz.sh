#!/bin/sh
# Runs every fuzz target of the module for a time: tools/fuzz.sh [10s]
# A finding is written to testdata/fuzz of its package and fails this script.
set -eu
cd "$(dirname "$0")/.."
time=${1:-10s}
packages=$(go list ./...)
for package in $packages; do
	targets=$(go test -list '^Fuzz' "$package")
	for target in $(echo "$targets" | grep '^Fuzz' || true); do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done
done
