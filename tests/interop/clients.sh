# What `consume` and `produce` share: where the independent clients come from. Sourced behind tests/rig/lib.sh, with HERE set.

# prepare_java FILE: compiles it against the Java client of the distribution that tests/rig/pulsar installed; sets CLASSES, JARS.
prepare_java() {
  need_java
  local version dist
  version=$(sed -n 's:.*<pulsar.version>\(.*\)</pulsar.version>.*:\1:p' "$RIG_HERE/pulsar/pom.xml")
  dist=$RIG_CACHE/dist/apache-pulsar-$version
  [[ -e $dist/.complete ]] || "$RIG_HERE/pulsar/pulsar" prepare
  JARS=$dist/lib
  java_class "$1" "$JARS/*"
}
make_environment() {
  say "installing the Python client of Apache Pulsar"
  rm -rf "$1"
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check 'pulsar-client>=3.5,<4'
}
# prepare_python: the package pulsar-client in an environment of its own; sets ENVIRONMENT.
prepare_python() {
  need_command python3 "install \`python3\` and \`python3-venv\`"
  ENVIRONMENT=$RIG_CACHE/python-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  once "$ENVIRONMENT/.done" make_environment "$ENVIRONMENT"
}
# run_java CLASS ARGUMENTS: becomes the program that was compiled.
run_java() {
  exec java -Xmx256m -XX:TieredStopAtLevel=1 -Djava.util.logging.config.file=/dev/null "-Dlog4j.configurationFile=$HERE/log4j2.xml" -cp "$CLASSES:$JARS/*" "$@"
}
