# Helpers of the rig's scripts. Sourced, never run.
#
# Promises: nothing is written outside the state folder and the cache folder; everything listens on loopback only; a process is
# only ever stopped by the script that started it, recognised by its start time and not by its number alone.
#
#   state  $PULSAR_CONNECT_RIG, else .rig/ in the checkout: data, logs, ports and pid files of the servers
#   cache  $XDG_CACHE_HOME (else ~/.cache)/pulsar-connect-rig: downloads and compiled helpers, shared by all checkouts
set -euo pipefail
RIG_HERE=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RIG_CHECKOUT=$(cd -P "$RIG_HERE/../.." && pwd)
RIG_STATE=${PULSAR_CONNECT_RIG:-$RIG_CHECKOUT/.rig}
RIG_CACHE=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/pulsar-connect-rig
RIG_WAIT=${RIG_WAIT:-180} # seconds until a server that does not answer counts as broken; generous, for busy machines

say() { printf '%s\n' "${RIG_NAME:-rig}: $*" >&2; }
die() { say "$*"; exit 1; }

# --- tools -----------------------------------------------------------------------------------------------------------

# The major version of a Java on the path (or of JAVA_HOME), or nothing.
java_major() {
  local java=java text
  [[ -n ${JAVA_HOME:-} ]] && java=$JAVA_HOME/bin/java
  text=$("$java" -version 2>&1) || return 0
  sed -n 's/.*version "\([0-9]*\).*/\1/p' <<<"$text" | head -n 1
}
have_java() { local major; major=$(java_major); [[ -n $major ]] && ((major >= 17)) && command -v javac >/dev/null && command -v mvn >/dev/null; }
have_docker() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

# Makes `java`, `javac` and `mvn` callable: the machine's own, else those of a container (docker-java/run).
need_java() {
  if [[ -n ${JAVA_HOME:-} ]]; then PATH=$JAVA_HOME/bin:$PATH; fi
  have_java && return
  if have_docker; then
    export RIG_CHECKOUT RIG_STATE RIG_CACHE
    PATH=$RIG_HERE/docker-java:$PATH
    return
  fi
  die "a JDK (17 or later) and Maven are needed, or a docker that runs: \`tests/rig/setup\` says how"
}
need_command() { command -v "$1" >/dev/null || die "\`$1\` is missing: $2"; }

# --- folders, ports --------------------------------------------------------------------------------------------------

# take_dir PATH: makes the folder and sets DIR to its full path.
take_dir() {
  [[ $1 == *[[:space:]]* ]] && die "the state folder \`$1\` must not contain white space: name another by PULSAR_CONNECT_RIG or --dir"
  mkdir -p "$1"
  DIR=$(cd -P "$1" && pwd)
}
# One command at a time on a state folder; let go at exit.
lock_dir() { exec 9>"$DIR/.lock"; flock -w "$RIG_WAIT" 9 || die "another command holds \`$DIR\`"; }

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# free_port NAME: a port nobody listens on, the same for NAME in this folder each time. It is taken below the range that outgoing
# connections use, so that no client's own end sits on it while the server is down.
free_port() {
  local file=$DIR/port.$1 port
  if [[ -s $file ]]; then cat "$file"; return; fi
  while :; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    port_open "$port" || break
  done
  echo "$port" | tee "$file"
}
# A server that was killed may keep its port for a moment.
need_port() {
  local _
  for _ in {1..50}; do port_open "$1" || return 0; sleep 0.2; done
  die "port $1 is taken by another process"
}

# --- processes -------------------------------------------------------------------------------------------------------

# process_start PID: its start time in ticks; nothing when it has ended. A killed process with several threads is a zombie until
# the last of them is gone, and holds its sockets until then.
process_start() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # shellcheck disable=SC2086 # its fields are words
  set -- ${stat##*) }
  [[ $1 == Z && ${18} -le 1 ]] || echo "${20}"
}
# alive PIDFILE: is the very process that was started still there?
alive() {
  local pid start
  [[ -s $1 ]] || return 1
  read -r pid start <"$1"
  [[ -n $start && $(process_start "$pid") == "$start" ]]
}
# spawn PIDFILE LOG COMMAND...: in a session of its own, without our lock.
spawn() {
  local pidfile=$1 log=$2; shift 2
  setsid "$@" >>"$log" 2>&1 </dev/null 9>&- &
  echo "$! $(process_start $!)" >"$pidfile"
  disown $! 2>/dev/null || true
}
# await PIDFILE LOG COMMAND...: until COMMAND succeeds; ends at once when the process does.
await() {
  local pidfile=$1 log=$2 end=$((SECONDS + RIG_WAIT)); shift 2
  until "$@" >/dev/null 2>&1; do
    alive "$pidfile" || { tail -n 20 "$log" >&2; die "the server ended while it started; log: $log"; }
    ((SECONDS < end)) || { tail -n 20 "$log" >&2; die "the server does not answer after $RIG_WAIT s; log: $log"; }
    sleep 0.1
  done
}
# stop PIDFILE [SECONDS]: asks, waits, then kills.
stop() {
  local pid end
  if alive "$1"; then
    read -r pid _ <"$1"
    end=$((SECONDS + ${2:-20}))
    kill -TERM "$pid" 2>/dev/null || true
    while alive "$1"; do
      ((SECONDS < end)) || kill -KILL "$pid" 2>/dev/null || true
      sleep 0.1
    done
  fi
  rm -f "$1"
}

# --- downloads -------------------------------------------------------------------------------------------------------

# once MARK COMMAND...: runs COMMAND unless the file MARK is there; one at a time among all scripts. COMMAND may make MARK itself.
once() {
  local mark=$1; shift
  [[ -e $mark ]] && return
  mkdir -p "$RIG_CACHE" "$(dirname "$mark")"
  (
    exec 9>&-
    flock 8
    [[ -e $mark ]] || { "$@" >&2 && touch "$mark"; }
  ) 8>"$RIG_CACHE/.$(basename "$(dirname "$mark")").lock" || die "this failed: $*"
}
# Maven, quiet; even so it prints bare colour resets.
maven() { mvn -B -q -Dstyle.color=never "$@" 2>&1 | sed -e 's/\x1b\[[0-9;]*m//g' -e '/^$/d' >&2; }
# maven_jars POM NAME: the runtime class path of a pom, copied to the cache once; sets JARS.
maven_jars() {
  JARS=$RIG_CACHE/$2-$(sha256sum "$1" | cut -c1-12)
  [[ -e $JARS/.done ]] && return
  say "downloading $2"
  once "$JARS/.done" maven -f "$1" dependency:copy-dependencies -DoutputDirectory="$JARS" -DincludeScope=runtime
}
# java_class FILE CLASSPATH: compiles one Java file once; sets CLASSES.
java_class() {
  local name; name=$(basename "$1" .java)
  CLASSES=$RIG_CACHE/classes-$name-$({ cat "$1"; echo "$2"; } | sha256sum | cut -c1-12)
  once "$CLASSES/.done" javac -nowarn -Xlint:none -XDsuppressNotes -cp "$2" -d "$CLASSES" "$1"
}
