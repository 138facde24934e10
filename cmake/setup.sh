# shellcheck shell=bash
# What run.sh and test.sh share: packages, configuring, building. Sourced under "set -euo pipefail", with
# "root" naming the source tree. All of it speaks on stderr, so that a program's stdout stays its own. A
# function that can fail checks each step itself, because "set -e" is off inside "f || exit", and has said why
# when it returns.

# For those who keep their packages in their own hands: "no" installs nothing and builds with what is here.
: "${NESTBED_INSTALL:=yes}"

# The program's own exit code for a host that lacks what was asked.
# shellcheck disable=SC2034  # read by those who source this
host_lacks=3

setup_log=${root:?}/build/setup.log

say() { printf '%s\n' "$*" >&2; }

# take_lock: one set-up at a time in this tree, because two builds in one folder break each other.
take_lock() {
    if ! mkdir -p "$root/build" 2>/dev/null || [[ ! -w $root/build ]] ||
        ! { exec {setup_lock}>>"$root/build/.lock"; } 2>/dev/null; then
        say "$(id -un) cannot write in $root/build. Does it belong to another user? Take it over or remove it."
        return 1
    fi
    if ! flock --nonblock "$setup_lock"; then
        say "Another set-up is at work in $root/build; waiting for it."
        flock "$setup_lock" || return 1
    fi
}

# drop_lock: once all is built; whoever is started while the lock is open would carry it on.
drop_lock() { exec {setup_lock}>&-; }

# system_id: name and version, such as "debian 12". What was set up for one is done anew for another.
system_id() (
    ID=unknown VERSION_ID=
    # shellcheck disable=SC1091
    [[ ! -r /etc/os-release ]] || . /etc/os-release
    printf '%s' "$ID${VERSION_ID:+ $VERSION_ID}"
)

# show_progress LABEL: reads a command's output and says how far it is, with ninja's percentage where there is
# one: a live line on a terminal, a line now and then elsewhere, nothing for what is done in a second.
show_progress() {
    local label=$1 line='' percent='' started=$SECONDS next=2 every=15 elapsed status
    [[ ! -t 2 ]] || every=1
    while true; do
        status=0
        IFS= read -r -t 1 line || status=$?
        ((status == 0 || status > 128)) || break # above 128 is the timeout, else the end
        [[ ! $line =~ ^\[[0-9]+/[0-9]+\ +([0-9]+%)\] ]] || percent=${BASH_REMATCH[1]}
        elapsed=$((SECONDS - started))
        ((elapsed >= next)) || continue
        next=$((elapsed + every))
        if [[ -t 2 ]]; then
            printf '\r\033[K%s: %s%d s' "$label" "${percent:+$percent, }" "$elapsed" >&2
        else
            say "$label: ${percent:+$percent, }$elapsed s"
        fi
    done
    [[ ! -t 2 ]] || ((next == 2)) || printf '\r\033[K' >&2
}

# run_logged LABEL COMMAND...: the output goes to the log, the progress to stderr; returns the command's status.
run_logged() {
    local label=$1 status=0
    shift
    "$@" </dev/null 2>&1 | tee -a "$setup_log" | show_progress "$label" || status=$?
    return "$status"
}

# explain_failure WHAT: the end of the log, and where the rest is. The next start looks at the packages again.
explain_failure() {
    tail -n 40 "$setup_log" >&2
    say $'\n'"$1 failed. The whole log: $setup_log"
    rm -f "$root"/build/.packages-*
}

# package_lists KIND...: the lists' text. dependencies KIND...: one dependency a line, in Debian's syntax.
package_lists() { cat "${@/#/"$root/cmake/packages/"}"; }
dependencies() { package_lists "${@/%/.txt}" | sed 's/#.*//; s/ *$//; /^$/d'; }

# library_names KIND...: what the lists ask for in words that mean something on any system.
library_names() { package_lists "${@/%/.txt}" | sed -n 's/^[^#].*# */  /p'; }

# missing_dependencies KIND...: those of which no alternative is installed, by dpkg's own account.
missing_dependencies() {
    local -A installed=()
    local status name version dependency alternative found
    while read -r status name version; do
        [[ $status != installed ]] || installed[$name]=$version
    done < <(dpkg-query --show --showformat '${db:Status-Status} ${Package} ${Version}\n')
    while read -r dependency; do
        found=no
        while read -r -d '|' alternative; do
            [[ $alternative =~ ^([^ ]+)( \((.+) (.+)\))?$ ]] || continue
            version=${installed[${BASH_REMATCH[1]}]-}
            [[ -n $version ]] || continue
            [[ -z ${BASH_REMATCH[2]} ]] ||
                dpkg --compare-versions "$version" "${BASH_REMATCH[3]}" "${BASH_REMATCH[4]}" || continue
            found=yes
        done <<<"$dependency|"
        [[ $found == yes ]] || printf '%s\n' "$dependency"
    done < <(dependencies "$@")
}

# apt_get ARGS...: without questions, waiting for another apt to end; through as_root, which the caller sets.
apt_get() {
    "${as_root[@]}" env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
}

# ensure_packages KIND...: installs what the lists ask for and is not there. Returns non-zero only when the user
# has to decide or to help; a machine that cannot install may still have everything, which CMake will tell.
ensure_packages() {
    [[ $NESTBED_INSTALL != no ]] || return 0
    [[ "$(cat "$root/build/.packages-${!#}" 2>/dev/null)" != "$(packages_mark "$@")" ]] || return 0
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        say "This system ($(system_id)) has no apt, so nothing is installed here. nestbed needs:"
        library_names "$@" >&2
        return 0
    fi
    local missing=() as_root=() wanted plan names
    mapfile -t missing < <(missing_dependencies "$@")
    ((${#missing[@]} > 0)) || return 0
    wanted=$(printf '%s, ' "${missing[@]}")
    wanted=${wanted%, }

    local by_hand="apt-get update && apt-get satisfy --no-install-recommends '$wanted'"
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }; }; then
            say "nestbed needs packages that are not here, and $(id -un) may not install them. Run this as" \
                "root:"$'\n\n'"  $by_hand"$'\n\n'"or set NESTBED_INSTALL=no to build with what is here."
            return 1
        fi
        as_root=(sudo)
    fi
    run_logged "Updating the package lists" apt_get update || true # offline, perhaps
    local satisfy=(satisfy --yes --no-install-recommends)
    if ! plan=$(apt_get "${satisfy[@]}" --simulate --no-remove "$wanted" 2>&1); then
        printf '%s\n' "$plan" >>"$setup_log"
        if plan=$(apt_get "${satisfy[@]}" --simulate "$wanted" 2>&1); then
            say "The packages that nestbed needs conflict with some that are installed. Nothing was changed." \
                "To go on, apt would remove:"
            sed -n 's/^Remv \([^ ]*\).*/  \1/p' <<<"$plan" >&2
            say $'\n'"If that is all right, run this as root:"$'\n\n'"  $by_hand"$'\n\n'"or set" \
                "NESTBED_INSTALL=no to build with what is here."
            return 1
        fi
        cannot_install "$wanted" "apt here does not offer all of them"
        return 0
    fi
    names=$(sed -n 's/^Inst \([^ ]*\).*/\1/p' <<<"$plan")
    say "Installing what is missing, with $(($(wc -l <<<"$names"))) packages in all:" \
        "$(grep -Fx -f <(tr -cs 'a-z0-9.+-' '\n' <<<"$wanted") <<<"$names" | tr '\n' ' ')"
    run_logged "Installing packages" apt_get "${satisfy[@]}" --no-remove "$wanted" ||
        cannot_install "$wanted" "apt could not install them"
}

# cannot_install WANTED WHY: says so and goes on, because the libraries may be here without packages.
cannot_install() {
    say "nestbed needs: $1"$'\n'"but $2 (the reason is in $setup_log). Trying with what is here."
    [[ $(system_id) != ubuntu* ]] || say "On Ubuntu they are in universe: add-apt-repository universe"
}

# packages_mark KIND...: what was asked of which system. remember_packages KIND...: it sufficed for a build, so
# the next start need not look.
packages_mark() { printf '%s %s' "$(system_id)" "$(dependencies "$@" | cksum)"; }
remember_packages() { packages_mark "$@" >"$root/build/.packages-${!#}"; }

# configure PRESET TESTS: makes build/PRESET when it is not there, was made on another system or in another
# place, or lacks tests that are wanted now (TESTS is ON or OFF). Tests once wanted stay, so that run.sh and
# test.sh can share a folder.
configure() {
    local preset=$1 tests=$2 folder=$root/build/$1 made_for='' made_tests='' here fresh=()
    here="$root on $(system_id)"
    [[ ! -r $folder/.setup ]] || { read -r made_for && read -r made_tests; } <"$folder/.setup" || true
    [[ $made_for != "$here" || $made_tests != ON ]] || tests=ON
    [[ ! -r $folder/build.ninja || $made_for != "$here" || $made_tests != "$tests" ]] || return 0
    [[ -z $made_for || $made_for == "$here" ]] || fresh=(--fresh)
    rm -f "$folder/.setup"
    if ! (cd "$root" && run_logged "Configuring ($preset)" cmake "${fresh[@]}" --preset "$preset" \
        -DNESTBED_TESTS="$tests" -DNESTBED_BENCHMARKS="$tests"); then
        explain_failure "Configuring ($preset)"
        if grep -qiE 'could not find|not found' "$setup_log"; then
            say "nestbed needs:"$'\n'"$(library_names build)"
            [[ $tests == OFF ]] || say "and for its tests:"$'\n'"$(library_names test)"
        fi
        return 1
    fi
    printf '%s\n' "$here" "$tests" >"$folder/.setup"
}

# parallel_jobs: compilers at a time; each may take a GiB.
parallel_jobs() {
    local gib
    gib=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
    gib=$((gib > 0 ? gib : 1))
    echo $(($(nproc) < gib ? $(nproc) : gib))
}

# build PRESET [TARGET... | -- NINJA-ARGS...]: brings the targets (all when none is named) up to date.
build() {
    local preset=$1 what=()
    shift
    if [[ ${1-} == -- ]]; then what=("$@"); elif (($# > 0)); then what=(--target "$@"); fi
    NINJA_STATUS='[%f/%t %p] ' run_logged "Building ($preset)" cmake --build "$root/build/$preset" \
        --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(parallel_jobs)}" "${what[@]}" && return
    explain_failure "Building ($preset)"
    return 1
}
