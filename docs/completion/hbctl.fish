# SPDX-License-Identifier: LGPL-2.1-or-later
# Generated with shtab; see tests/generated.py.


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
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a status -d 'nodes, links, groups and resources on one screen'
complete -c hbctl -n '_shtab_hbctl_using status' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using status' -l json -d 'the same for programs'
complete -c hbctl -n '_shtab_hbctl_using status' -l watch -d 'show it again whenever it changes, until interrupted'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a standby -d 'hand resource groups over to the peer'
complete -c hbctl -n '_shtab_hbctl_using standby' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using standby' -l wait -d 'return when it has ended'
complete -c hbctl -n '_shtab_hbctl_using standby' -l timeout -x -d 'with --wait'
complete -c hbctl -n '_shtab_hbctl_using standby; and test $_shtab_hbctl_npos -eq 0' -ka "all local foreign failback" -d 'groups by home node, seen from here'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a takeover -d 'ask the peer for resource groups'
complete -c hbctl -n '_shtab_hbctl_using takeover' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using takeover' -l wait -d 'return when it has ended'
complete -c hbctl -n '_shtab_hbctl_using takeover' -l timeout -x -d 'with --wait'
complete -c hbctl -n '_shtab_hbctl_using takeover; and test $_shtab_hbctl_npos -eq 0' -ka "all local foreign failback" -d 'groups by home node, seen from here'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a freeze -d 'start, stop and move nothing, on both nodes'
complete -c hbctl -n '_shtab_hbctl_using freeze' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a thaw -d 'the end of a freeze'
complete -c hbctl -n '_shtab_hbctl_using thaw' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a confirm-dead -d 'swear that a node is dead'
complete -c hbctl -n '_shtab_hbctl_using confirm-dead' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using confirm-dead; and test $_shtab_hbctl_npos -eq 0' -ka "(hbctl names node 2>/dev/null)" -d 'its name, as in ha.cf'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a why -d 'why a group is where it is'
complete -c hbctl -n '_shtab_hbctl_using why' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using why; and test $_shtab_hbctl_npos -eq 0' -ka "(hbctl names group 2>/dev/null)" -d 'its first resource, as in haresources, or another of its resources, an address or a unit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a history -d 'what was decided, why, and how it ended'
complete -c hbctl -n '_shtab_hbctl_using history' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using history' -s n -l lines -x -d 'so many at most'
complete -c hbctl -n '_shtab_hbctl_using history' -l both -d 'the other node'"'"'s decisions too, in one order with this node'"'"'s'
complete -c hbctl -n '_shtab_hbctl_using history' -l json -d 'for programs'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a events -d 'follow what changes and what is decided'
complete -c hbctl -n '_shtab_hbctl_using events' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a log -d 'what hbd has said to the journal'
complete -c hbctl -n '_shtab_hbctl_using log' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using log' -s n -l lines -x -d 'so many lines at most'
complete -c hbctl -n '_shtab_hbctl_using log' -s f -l follow -d 'go on with what comes, until interrupted'
complete -c hbctl -n '_shtab_hbctl_using log' -s x -l explain -d 'explain each message, and say what to do about it'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a reload -d 'read the configuration again'
complete -c hbctl -n '_shtab_hbctl_using reload' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a check -d 'what is wrong with the configuration, and with this machine'
complete -c hbctl -n '_shtab_hbctl_using check' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using check' -l json -d 'the same for programs'
complete -c hbctl -n '_shtab_hbctl_using check; and test $_shtab_hbctl_npos -eq 0' -ka "(__fish_complete_directories)" -d 'where the files are'
complete -c hbctl -n '_shtab_hbctl_using; and test $_shtab_hbctl_npos -eq 0' -a migrate -d 'what will be different after heartbeat 3.0.6'
complete -c hbctl -n '_shtab_hbctl_using migrate' -s h -l help -d 'show this help message and exit'
complete -c hbctl -n '_shtab_hbctl_using migrate' -l check -d 'only look, change nothing'
complete -c hbctl -n '_shtab_hbctl_using migrate; and test $_shtab_hbctl_npos -eq 0' -ka "(__fish_complete_directories)" -d 'where the files are'
