#!/bin/sh
# A RUSTC_WRAPPER: adds coverage for libFuzzer to this repository's crates and to the parsers that they use, and to
# nothing else, so that everything else is what the other checks have built already. These are the flags of cargo-fuzz;
# all of them are known to a stable compiler.
set -e
for word in "$@"; do
    if [ "$previous" = --crate-name ]; then name=$word; fi
    previous=$word
done
case "$name" in
gateway | kernel | luau | manifest | units | moonwire_fuzz | httparse | saphyr_parser | serde_json)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
    ;;
*) exec "$@" ;;
esac
