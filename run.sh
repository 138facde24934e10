#!/usr/bin/env bash
# Installs what is missing, builds nestbed and runs it: "./run.sh" does the main job, "./run.sh ARGS..." is
# "nestbed ARGS...". NESTBED_INSTALL=no builds with what is here.
set -euo pipefail

root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=cmake/setup.sh
. "$root/cmake/setup.sh"

# needs_lab COMMAND: whether it may emulate a machine, which takes QEMU: the lab itself, and what falls back on it
# where this host's KVM cannot be used or offers no SVM to its guests.
needs_lab() {
    local nested=''
    [[ ! -w /dev/kvm ]] || nested=$(cat /sys/module/kvm_amd/parameters/nested 2>/dev/null || true)
    case $1 in
    lab) true ;;
    validate | conform) [[ $nested != [1Y] ]] ;;
    *) false ;;
    esac
}

# needs_bochs ARGS...: whether it may emulate an Intel machine. Only where that is asked for, since Debian's Bochs
# drags in a graphical toolkit.
needs_bochs() {
    case $1 in
    lab) [[ " ${*/=/ } " == *' --silicon intel '* ]] ;;
    conform)
        [[ ${2-} == run && " $* " == *' vmx.'* ]] &&
            [[ $(cat /sys/module/kvm_intel/parameters/nested 2>/dev/null) != [1Y] ]]
        ;;
    *) false ;;
    esac
}

kinds=(build)
! needs_lab "${1-validate}" || kinds+=(lab)
! needs_bochs "${@-validate}" || kinds+=(lab-intel)

take_lock || exit "$host_lacks"
: >"$setup_log"
ensure_packages "${kinds[@]}" || exit "$host_lacks"
configure release OFF || exit "$host_lacks"
build release nestbed || exit "$host_lacks"
remember_packages "${kinds[@]}"
drop_lock

(($# > 0)) || set -- validate
exec "$root/build/release/cli/nestbed" "$@"
