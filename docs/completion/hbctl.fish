# SPDX-License-Identifier: LGPL-2.1-or-later
# Generated with https://github.com/tqdm/shtab; see tests/generated.py.


# Parse current commandline:
# - _shtab_hbctl_cmdpath=(sub)command path seen so far
# - _shtab_hbctl_npos=number of positional arguments given after it
# - options are skipped based on _shtab_hbctl_opts_with_value & _shtab_hbctl_commands lists
function _shtab_hbctl_scan
  set -g _shtab_hbctl_cmdpath ''
  set -g _shtab_hbctl_npos 0
  set -l tokens (commandline -opc)
  set -e tokens[1]
  set -l expect_value 0
  for t in $tokens
    if test $expect_value -eq 1
      set expect_value 0
      continue
    end
    switch "$t"
      case '--*=*'
        continue
      case '-*'
        if contains -- $t $_shtab_hbctl_opts_with_value
          set expect_value 1
        end
        continue
      case '*'
        if test $_shtab_hbctl_npos -eq 0
          set -l candidate $t
          if test -n "$_shtab_hbctl_cmdpath"
            set candidate "$_shtab_hbctl_cmdpath $t"
          end
          if contains -- $candidate $_shtab_hbctl_commands
            set -g _shtab_hbctl_cmdpath $candidate
            continue
          end
        end
        set -g _shtab_hbctl_npos (math $_shtab_hbctl_npos + 1)
    end
  end
end

# Condition helper: true if the current (sub)command path equals the given one.
function _shtab_hbctl_using
  _shtab_hbctl_scan
  test "$_shtab_hbctl_cmdpath" = "$argv"
end

set -g _shtab_hbctl_commands status standby takeover freeze thaw confirm-dead why history events log reload check migrate
set -g _shtab_hbctl_opts_with_value --lines --timeout -n

complete -c hbctl -e
complete -c hbctl -f

complete -c hbctl -n _shtab_hbctl_using -s h -l help -d 'show this help message and exit'
complete -c hbctl -n _shtab_hbctl_using -l version -d 'tell the version'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a status -d 'Answers on one screen: is it served, and where; could the other node take over; what is wrong; which link is weak. The first sentence says how this node is, the next which node serves which groups and who takes over if that node fails, or why nobody would. Then what is wrong, each line marked with !, and what does no harm yet, marked with ~: a link that loses messages, or the longest time in this boot that hbd did not run on this node, if it was more than half of what the other node suffers before it may take over.'
complete -c hbctl -n '_shtab_hbctl_using status' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using status' -l json -d 'the same for programs: cluster, nodes, links and groups, each group with its resources. The keys are the names of the D-Bus properties in snake_case, see org.linux_ha.Heartbeat1(5); /usr/share/doc/hbd/status.schema.json describes it. What changes with every datagram is not among them'
complete -c hbctl -n '_shtab_hbctl_using status' -l watch -d 'show it again whenever it changes, until interrupted: on a terminal in place, else one below the other. With --json each picture is one line, and null while hbd is away'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a standby -d 'Hands groups over to the peer. local are the groups whose home is this node, foreign those whose home is the peer, failback is another word for foreign, and all is meant when nothing is given. The command returns as soon as the transition has begun.'
complete -c hbctl -n '_shtab_hbctl_using standby' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using standby' -l wait -d 'return when it has ended'
complete -c hbctl -n '_shtab_hbctl_using standby' -l timeout -x -d 'with --wait: wait no longer than this; the transition goes on all the same'
complete -c hbctl -n '_shtab_hbctl_using standby; and test $_shtab_hbctl_npos -eq 0' -ka "all local foreign failback" -d 'groups by home node, seen from here; all if nothing is given'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a takeover -d 'Asks the peer to hand groups over to this node; otherwise as standby. The words are meant from this node'"'"'s side.'
complete -c hbctl -n '_shtab_hbctl_using takeover' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using takeover' -l wait -d 'return when it has ended'
complete -c hbctl -n '_shtab_hbctl_using takeover' -l timeout -x -d 'with --wait: wait no longer than this; the transition goes on all the same'
complete -c hbctl -n '_shtab_hbctl_using takeover; and test $_shtab_hbctl_npos -eq 0' -ka "all local foreign failback" -d 'groups by home node, seen from here; all if nothing is given'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a freeze -d 'For maintenance of the whole cluster: from now on neither node starts, stops or moves anything, whatever fails or dies. Heartbeats and status go on. What you stop by hand stays stopped, and what you start by hand runs. Both nodes know of it: either may be frozen, and either thawed.'
complete -c hbctl -n '_shtab_hbctl_using freeze' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a thaw -d 'Ends a freeze, on both nodes, whichever of them was frozen. Each then does what its rules ask for: it takes over what a dead node held, restarts what ended meanwhile, fails back, and settles what runs twice.'
complete -c hbctl -n '_shtab_hbctl_using thaw' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a confirm-dead -d 'You have seen that a node is off, and say so. hbd believes it at once and takes over what that node may have held: after a start it does not wait for initdead, and what the node held when it fell silent in a freeze is let go. If the node lives, its services run twice, and what both write to is destroyed.'
complete -c hbctl -n '_shtab_hbctl_using confirm-dead' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using confirm-dead; and test $_shtab_hbctl_npos -eq 0' -ka "(hbctl names node 2>/dev/null)" -d 'its name, as in ha.cf'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a why -d 'Says in sentences why a group is where it is and what would move it: what this node decided last about it and by what evidence, what it knows of the other node now, and the state of each resource.'
complete -c hbctl -n '_shtab_hbctl_using why' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using why; and test $_shtab_hbctl_npos -eq 0' -ka "(hbctl names group 2>/dev/null)" -d 'its first resource, as in haresources, or another of its resources, an address or a unit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a history -d 'Shows the last decisions of this node, the newest at the end: the cause, what was known at that moment (when the other node was heard last, on which link), what was done, each step with its time in milliseconds since the decision, the result and how long it took. What followed from one decision stands under it. Decisions outlast a restart of hbd and of the machine; some hundreds are kept in /var/lib/hbd/history.'
complete -c hbctl -n '_shtab_hbctl_using history' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using history' -s n -l lines -x -d 'so many at most; 10 if nothing is given'
complete -c hbctl -n '_shtab_hbctl_using history' -l json -d 'for programs: records, each with the keys of GetHistory in snake_case, see org.linux_ha.Heartbeat1(5)'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a events -d 'Prints a line for each change, each decision and each result, as they come, until interrupted.'
complete -c hbctl -n '_shtab_hbctl_using events' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a log -d 'Shows the journal of hbd on this node, by journalctl(1). hbd-events(7) lists what there can be.'
complete -c hbctl -n '_shtab_hbctl_using log' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using log' -s n -l lines -x -d 'so many lines at most; 50 if nothing is given'
complete -c hbctl -n '_shtab_hbctl_using log' -s f -l follow -d 'go on with what comes, until interrupted'
complete -c hbctl -n '_shtab_hbctl_using log' -s x -l explain -d 'explain each message, and say what to do about it'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a reload -d 'Has the configuration read again, as systemctl reload hbd does. If it is wrong, the old one stays in force and the errors are printed.'
complete -c hbctl -n '_shtab_hbctl_using reload' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a check -d 'Reads a configuration without using it, looks round on the machine, and asks the daemon if it runs. Nothing is changed. First come findings, one a line, as path:line:column: severity: text; the severity is error (hbd would not start with this, or would not take it in) or warning. With an error, there is nothing else. Then come facts, marked with ! where a finding belongs to them, with ? where something could not be found out, and with - where it is only worth knowing:'
complete -c hbctl -n '_shtab_hbctl_using check' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using check' -l json -d 'the same for programs: findings and facts'
complete -c hbctl -n '_shtab_hbctl_using check; and test $_shtab_hbctl_npos -eq 0' -ka "(__fish_complete_directories)" -d 'where the files are; $HBD_CONFIG_DIR or /etc/ha.d if nothing is given'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a migrate -d 'Reads the files of a heartbeat 3.0.6, looks round on the machine, and says line by line what will be different under hbd. It changes nothing, and neither daemon need run. Each line reads path:line:column: kind: text with one of these kinds:'
complete -c hbctl -n '_shtab_hbctl_using migrate' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using migrate' -l check -d 'only look, change nothing'
complete -c hbctl -n '_shtab_hbctl_using migrate; and test $_shtab_hbctl_npos -eq 0' -ka "(__fish_complete_directories)" -d 'where the files are; $HBD_CONFIG_DIR or /etc/ha.d if nothing is given'
