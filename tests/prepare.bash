# What ./test and ./demo need on the machine that runs them; to be sourced, as root, in the checkout.
#
# Tools from Debian, Python packages by the locks. Nothing here brings a
# service that runs. What is made lies in $HBD_CACHE, outside the checkout.

export HBD_CACHE=${HBD_CACHE:-/var/cache/hbd}
# Not the interpreters and tools of whoever calls.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Compiled modules neither clutter the checkout nor are made anew by each daemon of a test.
export PYTHONPYCACHEPREFIX=$HBD_CACHE/pycache
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

readonly TOOLS_PACKAGES=(
    python3 python3-venv python3-dev gcc libc6-dev pkg-config libsystemd-dev
    systemd systemd-container mmdebstrap debian-archive-keyring mount util-linux
    iproute2 nftables procps dbus-daemon libglib2.0-bin
    tmux man-db groff-base zsh fish
)
# For ./test --vm only.
readonly VM_PACKAGES=(qemu-system-x86 e2fsprogs zstd)

heading() { printf '\n=== %s ===\n' "$*"; }

# Names, by process and mount tables, of labs that ./demo --keep left running.
kept_labs() {
    local state
    for state in /run/hbd-lab/*/state.json; do
        [[ -f $state ]] && grep -q '"kept": true' "$state" && basename "$(dirname "$state")"
    done
    return 0
}

# Installs the Debian packages that are missing, with those named as arguments.
prepare_tools() {
    local package missing=() log
    for package in "${TOOLS_PACKAGES[@]}" "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        echo "all Debian packages are there"
        return
    fi
    echo "installing ${missing[*]}"
    log=$(mktemp)
    if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        echo "apt-get failed; all of its output: $log" >&2
        return 1
    fi
    rm -f "$log"
}

# Sets HBD_WHEELS, the directory for ./install --wheels.
prepare_wheels() {
    HBD_WHEELS=$(./install --fetch) || return 1
    export HBD_WHEELS
    echo "hbd's Python packages: $HBD_WHEELS"
}

# Sets HBD_PYTHON: an interpreter with hbd's packages and the tools that judge it.
prepare_python() {
    local key place log
    key=$(cat hbd/requirements.lock hbd/build.lock tests/requirements.lock | sha256sum)
    place=$HBD_CACHE/python-${key:0:12}
    if [[ ! -e $place/complete ]]; then
        echo "making the test environment in $place"
        rm -rf "$place"
        log=$(mktemp)
        if ! { /usr/bin/python3 -I -m venv "$place" &&
            "$place/bin/pip" install --no-index --find-links "$HBD_WHEELS" --no-deps --only-binary :all: \
                $(sed -n 's/^\([A-Za-z0-9_.-]\+==[^ ]\+\).*/\1/p' hbd/requirements.lock) &&
            "$place/bin/pip" install --require-hashes -r tests/requirements.lock &&
            touch "$place/complete"; } >"$log" 2>&1 </dev/null; then
            tail -n 20 "$log" >&2
            echo "pip failed; all of its output: $log" >&2
            return 1
        fi
        rm -f "$log"
    fi
    HBD_PYTHON=$place/bin/python
    export HBD_PYTHON
    echo "test environment: $place"
}
