#!/usr/bin/env bash
# Builds nestbed with its tests and runs them; the last line is "N passed, N failed, N skipped".
#   ./test.sh [CTEST ARGS...]              every test, or those that the arguments choose: ./test.sh -R cpuid
#   ./test.sh --fuzz [CTEST ARGS...]       the same, and what reads images and what guests write is fuzzed for a while
#   ./test.sh --sanitize [CTEST ARGS...]   every test under AddressSanitizer and UndefinedBehaviorSanitizer
#   ./test.sh --change [CTEST ARGS...]     the tests with and without sanitizers, and clang-format
#   ./test.sh --all [CTEST ARGS...]        that, and self-contained headers, clang-tidy, fuzzing
# Exit code 0 when all held, 1 when a test failed or none ran, 3 when the tests could not be built.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=cmake/setup.sh
. "$root/cmake/setup.sh"

passed=0 failed=0 skipped=0
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
clang_major=14 # .clang-format and .clang-tidy say what this one understands; others want other things
fuzz_seconds=20

# count_results JUNIT-FILE: one line for each test of ctest's account, "passed", "skipped NAME: REASON" or
# "failed NAME". A skip is believed only when nothing of a sanitizer's stands in the output, because ctest lets
# the word SKIPPED win over the exit code; and a test whose program is missing is no skip.
count_results() {
    awk '
        function text(s) {
            gsub(/&lt;/, "<", s); gsub(/&gt;/, ">", s); gsub(/&quot;/, "\"", s); gsub(/&amp;/, "\\&", s)
            return s
        }
        /<testcase / {
            name = $0; sub(/.*<testcase name="/, "", name); sub(/" classname=.*/, "", name)
            state = $0; sub(/.* status="/, "", state); sub(/".*/, "", state)
            why = ""; last = ""; in_reason = 0; broken = 0
        }
        /<skipped message="/ { broken = broken || !/message="SKIP_/ }
        /ERROR: [A-Za-z]+Sanitizer|: runtime error: / { broken = 1 }
        in_reason && /^\[  SKIPPED \]/ { in_reason = 0 }
        in_reason && NF { why = why (why == "" ? "" : " ") $0 }
        /^[^ ]+:[0-9]+: Skipped$/ { in_reason = 1 }
        { line = $0; sub(/.*<system-out>/, "", line); if (line !~ /<\/|^$/) last = line }
        /<\/testcase>/ {
            if (state == "run") print "passed"
            else if (state == "disabled") print "skipped " text(name) ": it is disabled"
            else if (state != "notrun" || broken) print "failed " text(name)
            else {
                if (why == "") why = last ~ /SKIPPED/ ? "no reason given" : last
                print "skipped " text(name) ": " text(why)
            }
        }' "$1"
}

# run_tests PRESET CTEST-ARGS...: the tests of one build; adds to the counts and lists what was skipped and why.
run_tests() {
    local preset=$1 results=$root/build/$1/results.xml kind rest before=$((passed + failed + skipped))
    local status=0 failed_before=$failed skips=()
    shift
    rm -f "$results"
    # Whole outputs, or the reason for a skip could be cut off.
    ctest --test-dir "$root/build/$preset" --parallel "${CTEST_PARALLEL_LEVEL:-$(nproc)}" \
        --output-on-failure --test-output-size-passed 1048576 --output-junit "$results" "$@" || status=$?
    [[ -e $results ]] || printf '<testsuite/>\n' >"$results"
    while read -r kind rest; do
        case $kind in
        passed) passed=$((passed + 1)) ;;
        failed) failed=$((failed + 1)) ;;
        skipped) skips+=("$rest") ;;
        esac
    done < <(count_results "$results")
    skipped=$((skipped + ${#skips[@]}))
    if ((${#skips[@]} > 0)); then
        printf '\nSkipped (%s):\n' "$preset"
        printf '  %s\n' "${skips[@]}"
    fi
    if ((passed + failed + skipped == before)); then
        say "No test ran ($preset)."
        return 1
    fi
    ((status == 0 || failed > failed_before)) || say "ctest ended with $status, yet no test failed ($preset)."
    return "$status"
}

# prepare PRESET TESTS [TARGET... | -- NINJA-ARGS...]: configures and builds, while nobody else does. The tests then run without
# the lock, so that run.sh does not wait for them.
prepare() {
    local preset=$1 tests=$2 status=0
    shift 2
    take_lock || return
    { configure "$preset" "$tests" && build "$preset" "$@"; } || status=$?
    drop_lock
    return "$status"
}

# build_and_test PRESET CTEST-ARGS...
build_and_test() {
    prepare "$1" ON || return "$host_lacks"
    run_tests "$@"
}

# stage NAME COMMAND...: one part of --all. It counts as a test when the command itself counted none.
stage() {
    local name=$1 started=$SECONDS before=$((passed + failed + skipped)) failed_before=$failed verdict=passed
    shift
    printf '\n== %s\n' "$name"
    "$@" || verdict=FAILED
    if [[ $verdict == FAILED ]]; then
        failures+=("$name")
        ((failed > failed_before)) || failed=$((failed + 1))
    elif ((passed + failed + skipped == before)); then
        passed=$((passed + 1))
    fi
    printf '%s: %s, %d s\n' "$name" "$verdict" $((SECONDS - started))
}

skip() {
    skipped=$((skipped + 1))
    printf '\n== %s\nSkipped: %s\n' "$1" "$2"
}

# has_clang TOOL: whether the tool is of the version that the project's settings are written for.
has_clang() { "$1" --version 2>/dev/null | grep -q "version $clang_major\\."; }

check_format() {
    find "$root" \( -path "$root/build" -o -path "$root/.*" \) -prune -o -name '*.[ch]pp' -print0 |
        xargs -0 --no-run-if-empty clang-format --dry-run --Werror
}
check_headers() { prepare debug OFF all_verify_interface_header_sets; }

# check_tidy: every file, so that one run tells all there is to mend.
check_tidy() {
    local status=0
    : >"$setup_log"
    prepare tidy ON -- -k 0 || status=$?
    ((status == 0)) || { sed -n '/: error: /p' "$setup_log" | sort -u; }
    return "$status"
}


check_clang_build() { prepare fuzz ON nestbed; }

# check_fuzzing [TARGET...]: each of them, or of all fuzz targets, gets a while to find something.
check_fuzzing() {
    local targets=("$@") target name status=0
    # One that is quick to build, so that there is a configured tree to name the others.
    prepare fuzz ON fuzz_size || return
    ((${#targets[@]} > 0)) || mapfile -t targets < <(ninja -C "$root/build/fuzz" -t targets all |
        sed -n 's/^\(fuzz_[a-z0-9_]*\): phony$/\1/p')
    if ((${#targets[@]} == 0)); then
        say "tests/fuzz makes no target named fuzz_*."
        return 1
    fi
    prepare fuzz ON "${targets[@]}" || return
    for target in "${targets[@]}"; do
        name=${target#fuzz_}
        mkdir -p "$root/build/fuzz/corpus/$name" "$root/build/fuzz/findings"
        local seeds=()
        [[ ! -d $root/tests/fuzz/corpus/$name ]] || seeds=("$root/tests/fuzz/corpus/$name")
        "$root/build/fuzz/tests/fuzz/$target" -max_total_time="$fuzz_seconds" -timeout=10 -verbosity=0 \
            -print_final_stats=1 -artifact_prefix="$root/build/fuzz/findings/$name-" \
            "$root/build/fuzz/corpus/$name" "${seeds[@]}" \
            >"$root/build/fuzz/$target.log" 2>&1 || {
            status=1
            tail -n 40 "$root/build/fuzz/$target.log"
        }
        printf '%s: %s runs\n' "$target" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$root/build/fuzz/$target.log")"
    done
    return "$status"
}

# run_change CTEST-ARGS...
run_change() {
    local preset
    if has_clang clang-format; then
        stage "clang-format" check_format
    else
        skip "clang-format" "needs clang-format $clang_major"
    fi
    for preset in release asan; do
        stage "tests ($preset)" build_and_test "$preset" "$@"
    done
}

# run_all CTEST-ARGS...
run_all() {
    run_change "$@"
    stage "self-contained headers" check_headers
    if has_clang clang-tidy; then
        stage "clang-tidy" check_tidy
    else
        skip "clang-tidy" "needs clang-tidy $clang_major"
    fi
    stage "build with clang" check_clang_build
    stage "fuzzing" check_fuzzing
}

# run_fuzz CTEST-ARGS...
run_fuzz() {
    stage "tests (release)" build_and_test release "$@"
    fuzz_seconds=10
    if command -v clang++ >/dev/null; then
        stage "fuzzing" check_fuzzing fuzz_device fuzz_elf fuzz_foreign_image fuzz_mailbox fuzz_virtio
    else
        skip "fuzzing" "needs clang with libFuzzer"
    fi
}

failures=() kinds=(build lab lab-intel test) preset=release
case ${1-} in
--help | -h) sed -n '2,/^set/ { s/^# \{0,1\}//p }' "${BASH_SOURCE[0]}" && exit ;;
--fuzz) preset=fuzz kinds=(build lab lab-intel test ci) && shift ;;
--sanitize) preset=asan && shift ;;
--change) preset=change kinds=(build lab lab-intel test ci) && shift ;;
--all) preset=all kinds=(build lab lab-intel test ci) && shift ;;
esac

take_lock || exit "$host_lacks"
: >"$setup_log"
ensure_packages "${kinds[@]}" || exit "$host_lacks"
drop_lock
status=0
if [[ $preset == all ]]; then
    run_all "$@"
elif [[ $preset == change ]]; then
    run_change "$@"
elif [[ $preset == fuzz ]]; then
    run_fuzz "$@"
else
    build_and_test "$preset" "$@" || status=$?
    ((status != host_lacks || passed + failed + skipped > 0)) || exit "$status"
fi
if ((${#failures[@]} > 0)); then
    printf '\nFailed:\n'
    printf '  %s\n' "${failures[@]}"
fi
((failed > 0 || status > 0)) || remember_packages "${kinds[@]}"
((passed + failed > 0 || skipped == 0)) || say "Every test that was chosen was skipped; that counts as none run."
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0 && passed > 0 && status == 0)) || exit 1
