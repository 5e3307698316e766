#compdef hbctl

# SPDX-License-Identifier: LGPL-2.1-or-later
# Generated with https://github.com/tqdm/shtab; see tests/generated.py.


_shtab_hbctl_commands() {
  local _commands=(
    check:'Reads a configuration without using it, looks round on the machine, and asks the daemon if it runs. Nothing is changed. First come findings, one a line, as path:line:column: severity: text; the severity is error (hbd would not start with this, or would not take it in) or warning. With an error, there is nothing else. Then come facts, marked with ! where a finding belongs to them, with ? where something could not be found out, and with - where it is only worth knowing:'
    confirm-dead:'You have seen that a node is off, and say so. hbd believes it at once and takes over what that node may have held: after a start it does not wait for initdead, and what the node held when it fell silent in a freeze is let go. If the node lives, its services run twice, and what both write to is destroyed.'
    events:'Prints a line for each change, each decision and each result, as they come, until interrupted.'
    freeze:'For maintenance of the whole cluster: from now on neither node starts, stops or moves anything, whatever fails or dies. Heartbeats and status go on. What you stop by hand stays stopped, and what you start by hand runs. Both nodes know of it: either may be frozen, and either thawed.'
    history:'Shows the last decisions of this node, the newest at the end: the cause, what was known at that moment (when the other node was heard last, on which link), what was done, each step with its time in milliseconds since the decision, the result and how long it took. What followed from one decision stands under it. Decisions outlast a restart of hbd and of the machine; some hundreds are kept in /var/lib/hbd/history.'
    log:'Shows the journal of hbd on this node, by journalctl(1). hbd-events(7) lists what there can be.'
    migrate:'Reads the files of a heartbeat 3.0.6, looks round on the machine, and says line by line what will be different under hbd. It changes nothing, and neither daemon need run. Each line reads path:line:column: kind: text with one of these kinds:'
    reload:'Has the configuration read again, as systemctl reload hbd does. If it is wrong, the old one stays in force and the errors are printed.'
    standby:'Hands groups over to the peer. local are the groups whose home is this node, foreign those whose home is the peer, failback is another word for foreign, and all is meant when nothing is given. The command returns as soon as the transition has begun.'
    status:'Answers on one screen: is it served, and where; could the other node take over; what is wrong; which link is weak. The first sentence says how this node is, the next which node serves which groups and who takes over if that node fails, or why nobody would. Then what is wrong, each line marked with !, and what does no harm yet, marked with ~: a link that loses messages, or the longest time in this boot that hbd did not run on this node, if it was more than half of what the other node suffers before it may take over.'
    takeover:'Asks the peer to hand groups over to this node; otherwise as standby. The words are meant from this node'"'"'s side.'
    thaw:'Ends a freeze, on both nodes, whichever of them was frozen. Each then does what its rules ask for: it takes over what a dead node held, restarts what ended meanwhile, fails back, and settles what runs twice.'
    why:'Says in sentences why a group is where it is and what would move it: what this node decided last about it and by what evidence, what it knows of the other node now, and the state of each resource.'
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
  "--json[the same for programs\: findings and facts]"
  ":where the files are\; \$HBD_CONFIG_DIR or \/etc\/ha.d if nothing is given:_files -/"
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
  {-n,--lines}"[so many at most\; 10 if nothing is given]:N:"
  "--json[for programs\: records, each with the keys of GetHistory in snake_case, see org.linux_ha.Heartbeat1(5)]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_history_defaults_added=0

_shtab_hbctl_log_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  {-n,--lines}"[so many lines at most\; 50 if nothing is given]:N:"
  {-f,--follow}"[go on with what comes, until interrupted]"
  {-x,--explain}"[explain each message, and say what to do about it]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_log_defaults_added=0

_shtab_hbctl_migrate_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--check[only look, change nothing]"
  ":where the files are\; \$HBD_CONFIG_DIR or \/etc\/ha.d if nothing is given:_files -/"
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
  "--timeout[with --wait\: wait no longer than this\; the transition goes on all the same]:SECONDS:"
  ":groups by home node, seen from here\; all if nothing is given:(all local foreign failback)"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_standby_defaults_added=0

_shtab_hbctl_status_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--json[the same for programs\: cluster, nodes, links and groups, each group with its resources. The keys are the names of the D-Bus properties in snake_case, see org.linux_ha.Heartbeat1(5)\; \/usr\/share\/doc\/hbd\/status.schema.json describes it. What changes with every datagram is not among them]"
  "--watch[show it again whenever it changes, until interrupted\: on a terminal in place, else one below the other. With --json each picture is one line, and null while hbd is away]"
)

# guard to ensure default positional specs are added only once per session
_shtab_hbctl_status_defaults_added=0

_shtab_hbctl_takeover_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--wait[return when it has ended]"
  "--timeout[with --wait\: wait no longer than this\; the transition goes on all the same]:SECONDS:"
  ":groups by home node, seen from here\; all if nothing is given:(all local foreign failback)"
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
