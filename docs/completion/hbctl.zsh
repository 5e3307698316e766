#compdef hbctl

# SPDX-License-Identifier: LGPL-2.1-or-later
# Generated with shtab; see tests/generated.py.


_shtab_hbctl_commands() {
  local _commands=(
    check:'what is wrong with the configuration, and with this machine'
    confirm-dead:'swear that a node is dead'
    events:'follow what changes and what is decided'
    freeze:'start, stop and move nothing, on both nodes'
    history:'what was decided, why, and how it ended'
    log:'what hbd has said to the journal'
    migrate:'what will be different after heartbeat 3.0.6'
    reload:'read the configuration again'
    standby:'hand resource groups over to the peer'
    status:'nodes, links, groups and resources on one screen'
    takeover:'ask the peer for resource groups'
    thaw:'the end of a freeze'
    why:'why a group is where it is'
  )
  _describe 'hbctl commands' _commands
}

_shtab_hbctl_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "(- : *)--version[tell the version]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_defaults_added=0

_shtab_hbctl_check_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--json[the same for programs]"
  ":where the files are:_files -/"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_check_defaults_added=0

_shtab_hbctl_confirm_dead_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  ":its name, as in ha.cf:_hbctl_nodes"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_confirm_dead_defaults_added=0

_shtab_hbctl_events_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_events_defaults_added=0

_shtab_hbctl_freeze_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_freeze_defaults_added=0

_shtab_hbctl_history_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  {-n,--lines}"[so many at most]:N:"
  "--both[the other node\'s decisions too, in one order with this node\'s]"
  "--json[for programs]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_history_defaults_added=0

_shtab_hbctl_log_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  {-n,--lines}"[so many lines at most]:N:"
  {-f,--follow}"[go on with what comes, until interrupted]"
  {-x,--explain}"[explain each message, and say what to do about it]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_log_defaults_added=0

_shtab_hbctl_migrate_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--check[only look, change nothing]"
  ":where the files are:_files -/"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_migrate_defaults_added=0

_shtab_hbctl_reload_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_reload_defaults_added=0

_shtab_hbctl_standby_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--wait[return when it has ended]"
  "--timeout[with --wait]:SECONDS:"
  ":groups by home node, seen from here:(all local foreign failback)"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_standby_defaults_added=0

_shtab_hbctl_status_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--json[the same for programs]"
  "--watch[show it again whenever it changes, until interrupted]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_status_defaults_added=0

_shtab_hbctl_takeover_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--wait[return when it has ended]"
  "--timeout[with --wait]:SECONDS:"
  ":groups by home node, seen from here:(all local foreign failback)"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_takeover_defaults_added=0

_shtab_hbctl_thaw_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_thaw_defaults_added=0

_shtab_hbctl_why_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  ":its first resource, as in haresources, or another of its resources, an address or a unit:_hbctl_groups"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_why_defaults_added=0


_shtab_hbctl() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->hbctl'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_hbctl_defaults_added )); then
    if (( ${_shtab_hbctl_options[(I)${(q)one_or_more}*]} +          ${_shtab_hbctl_options[(I)${(q)remainder}*]} +          ${_shtab_hbctl_options[(I)${(q)default}]} == 0 )); then
      _shtab_hbctl_options+=(': :_shtab_hbctl_commands' '*::: :->hbctl')
    fi
    _shtab_hbctl_defaults_added=1
  fi
  _arguments -C -s $_shtab_hbctl_options

  case $state in
    hbctl)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_hbctl-$line[1]:"
      case $line[1] in
        check) _arguments -C -s $_shtab_hbctl_check_options ;;
        confirm-dead) _arguments -C -s $_shtab_hbctl_confirm_dead_options ;;
        events) _arguments -C -s $_shtab_hbctl_events_options ;;
        freeze) _arguments -C -s $_shtab_hbctl_freeze_options ;;
        history) _arguments -C -s $_shtab_hbctl_history_options ;;
        log) _arguments -C -s $_shtab_hbctl_log_options ;;
        migrate) _arguments -C -s $_shtab_hbctl_migrate_options ;;
        reload) _arguments -C -s $_shtab_hbctl_reload_options ;;
        standby) _arguments -C -s $_shtab_hbctl_standby_options ;;
        status) _arguments -C -s $_shtab_hbctl_status_options ;;
        takeover) _arguments -C -s $_shtab_hbctl_takeover_options ;;
        thaw) _arguments -C -s $_shtab_hbctl_thaw_options ;;
        why) _arguments -C -s $_shtab_hbctl_why_options ;;
      esac
  esac
}

# Custom Preamble
_hbctl_groups() { local -a found; found=(${(f)"$(hbctl names group 2>/dev/null)"}); compadd -a found; }
_hbctl_nodes() { local -a found; found=(${(f)"$(hbctl names node 2>/dev/null)"}); compadd -a found; }

# End Custom Preamble


typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_hbctl -N hbctl
else
  # autoload from fpath, call function directly
  _shtab_hbctl "$@"
fi
