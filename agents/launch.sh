# shellcheck shell=sh
# shellcheck disable=SC2154 # the gate, which sources this file, sets $_room $_witness $_account $_generation $_job_path
# What every provider's launcher does: the job user, the witness, signals, the end. Sourced by the gate before it waits.
#
# A provider's file beside this one defines two functions:
#   take_files   runs as root once the frame is unpacked in $_room/in, which is removed afterwards: opens (descriptors 3 and
#                4) or hands over (chown) what the client needs, and returns 1 where it is not there
#   client       runs in the job's process, which is still root, and ends in `as_job_user COMMAND…`
#
# and, where the client tells its job's result in its own output alone, a third:
#   client_sign  whether the line in $_line is one that the provider's `judge` wants; a `case` on its fixed beginning. Of a
#                line that tells of trouble it leaves in $_trouble what is the same each time that the client says it again
#
# Then both outputs of the client go through a pipe on to standard output, and the first such lines to the witness. The file may
# set
#
#   _work        the directory that a job works in, which is a volume where its pool has `containers`, and then the job user's
#   _lasts       in `take_files`: seconds after which the job is ended here, with or without a manager
#   _patience    seconds after a TERM; what the job user still runs then, but for the client, is killed, so that the client can
#                tell of its end
#
# Once the job has started nothing here may fork: at the pids limit it could not, and a fork that fails ends the shell.

set -eu

_patience=
_lasts=
_authority=/etc/mayfly/ca.pem # the pool's `ca`, where it has one

# Finds out who the job runs as: MAYFLY_USER (NAME, UID or UID:GID; 1000), MAYFLY_GROUPS (numbers or names, by commas).
job_user() {
  _want=${MAYFLY_USER:-1000}
  _job_groups=${MAYFLY_GROUPS:-}
  _job_sudo=${MAYFLY_SUDO:-}
  _job_lines=${MAYFLY_LINES:-} # whether its service's log is to have lines of ours
  _entry=$(getent passwd "${_want%%:*}") || _entry=
  if [ -z "$_entry" ]; then
    case ${_want%%:*} in
      '' | *[!0-9]*) die 70 "the image has no user $_want" ;;
    esac
    # A user of the host's, known here by its number alone. With an entry whoami, ssh and sudo work for it.
    _entry=job:x:${_want%%:*}:${_want#*:}::/home/runner:/bin/sh
    printf '%s\n' "$_entry" >>/etc/passwd
    [ ! -d /home/runner ] || chown "${_want%%:*}:${_want#*:}" /home/runner
  fi
  IFS=: read -r _job_name _ _job_uid _job_gid _ _job_home _ <<ENTRY
$_entry
ENTRY
  case $_want in
    *:*) _job_gid=${_want#*:} ;;
  esac
  [ "$_job_uid" -ne 0 ] || die 70 'the job user must not be root'
  # Asked here, since a group that is not there would fail each job of the slot at its first instruction.
  [ -z "$_job_groups" ] || setpriv --groups "$_job_groups" true 2>/dev/null ||
    die 70 "the image has not all of the groups $_job_groups"
  if [ -n "$_job_sudo" ]; then
    [ -d /etc/sudoers.d ] || die 70 'the pool asks for sudo, and the image has none'
    printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$_job_name" >/etc/sudoers.d/mayfly
    chmod 0440 /etc/sudoers.d/mayfly
    # In a network that does not name it, sudo would complain of this host at each call.
    _host=$(uname -n)
    grep -qw -- "$_host" /etc/hosts || printf '127.0.1.1\t%s\n' "$_host" >>/etc/hosts
  fi
}

# Before the gate: what the job is to trust where its pool names an authority, which is that and all that the image trusts. Most
# tools take one file and then trust nothing else. An image without authorities of its own has this one.
ready_trust() {
  _trusted=
  [ -f "$_authority" ] || return 0
  _trusted=/etc/mayfly/trusted.pem
  for _roots in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem ''; do
    [ ! -s "$_roots" ] || break
  done
  # (The blank line is for a file that does not end with a newline.)
  { [ -z "$_roots" ] || cat "$_roots"; echo; cat "$_authority"; } 2>/dev/null >"$_trusted" || _trusted=$_authority
}

# Before the gate: what stands between the job's home and a place mounted below it is the job's, as its home is. The
# container runtime made it, as root. Nothing beneath a mount is touched: that is the host's.
own_parents() {
  _points=
  while read -r _ _ _ _ _point _; do
    case $_point in
      *\\*) ;; # a place with a space or its like, written otherwise here
      "$_job_home"/?*) _points="$_points$_point:" ;;
    esac
  done </proc/self/mountinfo
  IFS=:
  for _point in $_points; do
    _parent=${_point%/*}
    while [ "$_parent" != "$_job_home" ]; do
      case ":$_points" in
        *":$_parent:"*) break ;;
      esac
      _parent=${_parent%/*}
    done
    [ "$_parent" = "$_job_home" ] || continue
    _parent=${_point%/*}
    while [ "$_parent" != "$_job_home" ]; do
      [ "$(stat -c %u "$_parent")" != 0 ] || chown -h "$_job_uid:$_job_gid" "$_parent" || :
      _parent=${_parent%/*}
    done
  done
  unset IFS
}

# Before the gate: the pipe for a client whose lines are read. What is opened through /proc may be written, not read.
ready_lines() {
  [ -z "$_patience" ] || mkfifo -m 0600 "$_room/patience"
  _lines=
  command -v client_sign >/dev/null || return 0
  _lines=$_room/lines
  mkfifo -m 0622 "$_lines"
  chmod 0622 "$_lines"
}

# Starts the reader of the client's lines. It is root's, so that the job cannot end it, and it ends at a line that nobody in
# the job can know; the launcher keeps the pipe open, so that no writer ever finds it closed.
read_lines() {
  [ -n "$_lines" ] || return 0
  exec 5<>"$_lines"
  read -r _last </proc/sys/kernel/random/uuid
  pass_on_lines <&5 3<&- 4<&- 5>&- &
  _reader=$!
}

# The reader itself, in a process of its own.
# shellcheck disable=SC2030,SC2031
pass_on_lines() {
  trap - EXIT
  trap '' TERM INT QUIT HUP USR1 USR2
  _signs=0 _troubles=0 _last_trouble=
  while IFS= read -r _line; do
    case $_line in
      *"$_last")
        _line=${_line%"$_last"}
        [ -z "$_line" ] || note_line
        exit 0
        ;;
    esac
    note_line
  done
}

# shellcheck disable=SC2030,SC2031
note_line() {
  printf '%s\n' "$_line" || :
  [ "$_signs" -lt 64 ] || return 0
  _trouble=
  client_sign || return 0
  # A client tells of trouble again and again, and what it tells of its job is to have room after that.
  if [ -n "$_trouble" ]; then
    [ "$_trouble" != "$_last_trouble" ] && [ "$_troubles" -lt 32 ] || return 0
    _last_trouble=$_trouble
    _troubles=$((_troubles + 1))
  fi
  _signs=$((_signs + 1))
  printf '%.300s\n' "$_line" >>"$_witness/signs" || :
}

# Starts what waits for a TERM with the client. A process of its own, made before the job can have taken them all.
watch_steps() {
  [ -n "$_patience" ] || return 0
  exec 6<>"$_room/patience"
  end_steps <&6 3<&- 4<&- 5>&- 6>&- &
  _watched=yes
}

# The watcher itself: the steps have $_patience seconds, or none where there is no room for a process that counts them.
end_steps() {
  trap '' TERM INT QUIT HUP USR1 USR2
  trap - EXIT
  IFS= read -r _client_process || exit 0
  trap kill_steps EXIT
  sleep "$_patience"
}

# Kills what the job user runs beside the client, until nothing of it lives. With builtins alone.
kill_steps() {
  _rounds=0
  _left=yes
  while [ -n "$_left" ] && [ "$_rounds" -lt 1000 ]; do
    _left=
    _rounds=$((_rounds + 1))
    for _process in /proc/[0-9]*; do
      _state=
      while read -r _key _value _; do
        case $_key in
          State:) _state=$_value ;;
          Uid:) break ;;
        esac
      done 2>/dev/null <"$_process/status" || continue
      [ "$_value" = "$_job_uid" ] && [ "$_state" != Z ] && [ "$_process" != "/proc/$_client_process" ] || continue
      _left=$_process
      kill -s KILL "${_process#/proc/}" 2>/dev/null || :
    done
  done
}

# Starts what ends the job when its time is over, also where no manager is there to do it. It is root's, and made before the job
# can have taken all processes: nobody in the job can stop or outlive it.
limit_time() {
  case $_lasts in
    '' | *[!0-9]*) return 0 ;;
  esac
  end_in_time 3<&- 4<&- &
}

# The timer itself. A manager that lets the job go on writes into the witness how many seconds it may last in all. Whatever ends
# the timer ends the job.
end_in_time() {
  trap '' TERM INT QUIT HUP USR1 USR2 WINCH
  trap 'kill -s WINCH "$$"' EXIT
  _slept=0
  while [ "$_lasts" -gt "$_slept" ]; do
    pass_time "$((_lasts - _slept))"
    _slept=$_lasts
    if [ -r "$_witness/lasts" ]; then
      read -r _later <"$_witness/lasts" || :
      case $_later in
        '' | *[!0-9]* | ??????????*) ;;
        *) _lasts=$_later ;;
      esac
    fi
  done
  exit 0
}

# So many seconds, by the kernel's clock. Where the job has taken all processes that are to be had, the second sleep of one that goes
# on for longer cannot be begun: it is tried again each second, and what fails within `command eval` ends no shell (dash).
pass_time() {
  read -r _now _ </proc/uptime
  _now=${_now%.*}
  _passed=$((_now + $1))
  while [ "$_now" -lt "$_passed" ]; do
    # shellcheck disable=SC2016 # it is read by eval
    command eval 'sleep "$((_passed - _now))"' 2>/dev/null || :
    _tried=$_now
    while read -r _now _ </proc/uptime && _now=${_now%.*} && [ "$_now" = "$_tried" ]; do :; done
  done
}

# Its word: the job is killed, and has done nothing wrong.
time_over() {
  _stop=WINCH
  _over=yes
  case $_job in
    '') return 0 ;;
  esac
  kill -s KILL -- "-$_job" 2>/dev/null || kill -s KILL "$_job" 2>/dev/null || :
}

# Once the client has ended: what it wrote is read to its last line.
end_lines() {
  [ -n "$_reader" ] || return 0
  # Nothing that still writes may keep the pipe full for ever.
  [ -z "$_job" ] || kill -s KILL -- "-$_job" 2>/dev/null || :
  if kill -s 0 "$_reader" 2>/dev/null; then
    printf '%s\n' "$_last" >&5 || :
    wait "$_reader" 2>/dev/null || :
  fi
  _reader=
}

# Runs once the enrolment is here: from now on the agent belongs to one job. Does not return.
launch() {
  _job=
  _stop=
  _over=
  _ended=
  _reader=
  _watched=
  trap 'forward TERM' TERM
  trap 'forward INT' INT
  trap 'forward QUIT' QUIT
  trap 'forward HUP' HUP
  trap 'forward USR1' USR1
  trap 'forward KILL' USR2
  trap time_over WINCH
  # What comes with the account in the end is the launcher's: nobody in the job can know it, but where the job may become root.
  # A manager that was away asks root for it, since a line of the job's may be copied into the log before the one below.
  _key=
  if [ -n "$_account" ] && [ "${MAYFLY_ACCOUNT:-}" = printed ] && [ -z "$_job_sudo" ]; then
    read -r _key </proc/sys/kernel/random/uuid
    printf '%s\n' "$_key" >"$_witness/key" || _key=
  fi
  # (When that was is the file's own time: to ask `date` would take longer than all of this.)
  echo yes >"$_witness/opened" || die 73 "cannot write to the witness $_witness"
  # Where the manager cannot see that: before there is a job that could say so.
  if [ -n "$_account" ]; then
    account opened
    printf 'mayfly: opened %s %s:%s%s\n' "$_generation" "$_job_uid" "$_job_gid" "${_key:+ $_key}"
  fi
  trap 'fell $?' EXIT
  exec </dev/null

  take_files || {
    printf 'mayfly: the frame does not hold what this launcher needs\n' >&2
    finish 65
  }
  outlive_job
  [ -z "$_door" ] || await_door
  read_lines
  watch_steps
  limit_time
  rm -rf "$_room/in" "$_room/frame" "$_room/lines" "$_room/patience"
  # A signal that came before there was a job to send it to: the job never starts.
  case $_stop in
    '' | USR1) ;;
    WINCH) finish 0 ;;
    HUP) finish 129 ;;
    INT) finish 130 ;;
    QUIT) finish 131 ;;
    KILL) finish 137 ;;
    TERM) finish 143 ;;
  esac
  (
    trap - TERM INT QUIT HUP USR1 USR2 WINCH EXIT
    printf 1000 >/proc/self/oom_score_adj
    [ -z "$_lines" ] || exec >&5 2>&1 5>&-
    [ -z "$_watched" ] || exec 6>&-
    job_environment
    [ -z "$_door" ] || door_environment
    client
  ) &
  _job=$!
  exec 3<&- 4<&-
  case $_stop in
    '') ;;
    WINCH) time_over ;;
    *) forward "$_stop" ;;
  esac
  await
  [ -z "$_over" ] || _code=0
  finish "$_code"
}

# What the job sees of the container's environment: all of it but the launcher's own part.
job_environment() {
  # (Those of the pool and the image have other names yet; `job-environment` gives them their own.)
  unset MAYFLY_GENERATION MAYFLY_USER MAYFLY_GROUPS MAYFLY_SUDO MAYFLY_ACCOUNT MAYFLY_GPUS MAYFLY_LINES OLDPWD
  export HOME="$_job_home" USER="$_job_name" LOGNAME="$_job_name" SHELL=/bin/sh PATH="$_job_path"
  if [ -n "$_trusted" ]; then
    export SSL_CERT_FILE="$_trusted" REQUESTS_CA_BUNDLE="$_trusted" CURL_CA_BUNDLE="$_trusted"
    # Node adds the file to what it trusts. Git, as Debian builds it, reads none of the others.
    export NODE_EXTRA_CA_CERTS="$_authority" GIT_SSL_CAINFO="${MAYFLY_ENV_GIT_SSL_CAINFO:-${GIT_SSL_CAINFO:-$_trusted}}"
  fi
  umask 022
}

# The job dies of a full memory before its launcher does. It may lower its own score to what the launcher's may have been, so
# that the launcher and the init have the lowest there is: they are small, and then the larger one dies first.
outlive_job() {
  read -r _score </proc/self/oom_score_adj
  for _process in 1 self; do
    printf 0 2>/dev/null >"/proc/$_process/oom_score_adj" || :
  done
}

# For a client that has to report its steps: of a full memory they die before it. (It tells them so, or gitlab-bash does.)
outlive_steps() {
  printf '%s\n' "$_score" >/proc/self/oom_score_adj || : # where it may not be lowered again
}

# Becomes the job user and runs a command, in a process group of its own, with default signals, without capabilities.
as_job_user() {
  # What the pool and the image set gets its own names once nothing is root's any more.
  [ -z "${MAYFLY_ENV:-}" ] || set -- /bin/sh "$_home/job-environment" "$@"
  if [ -n "$_job_groups" ]; then
    set -- --groups "$_job_groups" "$@"
  else
    set -- --clear-groups "$@"
  fi
  # With no_new_privs, sudo and other set-uid programs give nothing.
  [ -n "$_job_sudo" ] || set -- --no-new-privs "$@"
  # The search path is the job's by now: what still runs as root is named in full. A shell starts what is to run in the
  # background with INT and QUIT ignored for good; env sets them right.
  exec /usr/bin/setsid /usr/bin/env --default-signal \
    /usr/bin/setpriv --reuid "$_job_uid" --regid "$_job_gid" --inh-caps=-all "$@"
}

# Passes a signal on to the job's process group, or to the job that is too young to lead one. The witness keeps what asked the
# job to end from outside: its exit code alone does not tell that from a failure of its own. (Another signal may come within:
# dash then gives the command that it came after a wrong status, so that nothing here is decided by one.)
forward() {
  _stop=$1
  case $1 in
    USR1) ;;
    *) printf '%s\n' "$1" >>"$_witness/signals" || : ;;
  esac
  case $_job in
    '') return 0 ;;
  esac
  case $1$_watched in
    TERMyes) printf '%s\n' "$_job" >&6 || : ;;
  esac
  kill -s "$1" -- "-$_job" 2>/dev/null || kill -s "$1" "$_job" 2>/dev/null || :
}

# Waits for the job and leaves its exit code in $_code: 128 + N where signal N killed it. A signal to the launcher ends `wait`
# early with a code of its own, even when the job has ended in that moment; the next `wait` has the job's.
await() {
  while :; do
    _stop=
    _code=0
    # (The shell itself would say "Killed", in the job's output.)
    wait "$_job" 2>/dev/null || _code=$?
    [ -n "$_stop" ] || return 0
  done
}

# Kills whatever is left in the container and returns when nothing is. KILL to -1 spares its sender and PID 1.
clear_out() {
  _rounds=0
  while :; do
    kill -s KILL -- -1 2>/dev/null || :
    wait
    _left=
    for _process in /proc/[0-9]*; do
      case ${_process#/proc/} in
        1 | "$$") ;;
        *) [ ! -d "$_process" ] || _left=$_process ;;
      esac
    done
    [ -n "$_left" ] || return 0
    _rounds=$((_rounds + 1))
    # What hangs in the kernel (a dead NFS server, a stuck driver) is waited for, but not in a busy loop for ever.
    [ "$_rounds" -lt 20000 ] || sleep 0.2
  done
}

# Leaves in $_oom_kills how often the kernel killed for memory in here, by the cgroup's own counter; - where it has none.
count_oom_kills() {
  _oom_kills=-
  for _counter in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$_counter" ] || continue
    while read -r _name _value; do
      [ "$_name" != oom_kill ] || _oom_kills=$_value
    done <"$_counter"
  done
}

# The end, with builtins alone: nothing lives on, the witness knows, and only then comes the line that rings the manager.
finish() {
  trap '' TERM INT QUIT HUP USR1 USR2 WINCH
  end_lines
  clear_out
  count_oom_kills
  _ended=yes
  printf '%s %s\n' "$1" "$_oom_kills" 2>/dev/null >"$_witness/exit" || write_spare "$1"
  if [ -n "$_account" ]; then
    # (No line of its end is printed: a pod's two streams are copied apart, and what the job said last may come after it.)
    give_account "$1"
  else
    printf 'mayfly: ended %s\n' "$1" || :
  fi
  exit "$1"
}

# The engine reads the end of it, a few KiB, so what matters most comes last.
give_account() {
  if [ -f "$_witness/signs" ]; then
    while IFS= read -r _line; do
      tell "sign $_line"
    done <"$_witness/signs"
  fi
  tell opened
  [ ! -e "$_witness/signals" ] || tell signalled
  tell "exit $1 $_oom_kills"
}

# Adds a line to the account, and prints it with the key for a manager that would hear of it sooner than by the engine.
tell() {
  account "$1"
  [ -z "$_key" ] || printf 'mayfly: %s %s\n' "$_key" "$1" || :
}

# Where the host's disk takes no more, the account goes into the bytes that the manager has set aside for it: over them, since
# to write a file anew gives its bytes back first.
write_spare() {
  [ -e "$_witness/spare" ] && printf '%-31s\n' "$1 $_oom_kills" 2>/dev/null 1<>"$_witness/spare" ||
    printf 'mayfly: cannot write to the witness\n' >&2 || :
}

# The launcher itself failed after `opened`: the account says 70 rather than nothing.
fell() {
  case $_ended in
    yes) exit "$1" ;;
  esac
  trap - EXIT
  printf 'mayfly: the launcher failed with %s\n' "$1" >&2 || :
  finish 70
}
