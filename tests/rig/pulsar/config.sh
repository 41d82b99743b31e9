# What a broker of the rig is configured with: ports, keys, certificates, settings, and the variables that are printed for its users.
# Sourced by `pulsar`, after its options are read.

choose_ports() {
  [[ $PORT == 0 ]] && PORT=$(free_port broker)
  [[ $HTTP == 0 ]] && HTTP=$(free_port http)
  [[ $BOOKIE == 0 ]] && BOOKIE=$(free_port bookie)
  ((TLS)) || return 0
  [[ $TLS_PORT == 0 ]] && TLS_PORT=$(free_port tls)
  [[ $HTTPS == 0 ]] && HTTPS=$(free_port https)
  return 0
}

# --- tokens ----------------------------------------------------------------------------------------------------------
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
# sign_token ROLE [SECONDS]: a JWT signed with the broker's secret key (HS256).
sign_token() {
  local expiry='' key body
  [[ -s $DIR/auth/secret.key ]] || die "this broker has no key: run \`pulsar up --token-auth\` first"
  [[ -n ${2:-} ]] && expiry=",\"exp\":$(($(date +%s) + $2))"
  key=$(od -An -v -tx1 "$DIR/auth/secret.key" | tr -d ' \n')
  body=$(printf '{"alg":"HS256"}' | base64url).$(printf '{"sub":"%s"%s}' "$1" "$expiry" | base64url)
  echo "$body.$(printf %s "$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64url)"
}
make_keys() {
  need_command openssl "install \`openssl\`"
  (
    umask 077
    mkdir -p "$DIR/auth"
    [[ -s $DIR/auth/secret.key ]] || openssl rand -out "$DIR/auth/secret.key" 32
    [[ -s $DIR/auth/admin.token ]] || sign_token admin >"$DIR/auth/admin.token"
  )
}

# --- certificates ----------------------------------------------------------------------------------------------------
# One CA, and a server and a client certificate of it; made again an hour before they end.
make_certificates() {
  need_command openssl "install \`openssl\`"
  local folder=$DIR/tls
  [[ -s $folder/server.pem ]] && openssl x509 -checkend 3600 -noout -in "$folder/server.pem" >/dev/null && return
  rm -rf "$folder"
  mkdir -p "$folder"
  (
    umask 077
    cd "$folder"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=rig-ca -keyout ca.key -out ca.pem \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
    for who in server client; do
      openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" -keyout $who.key -out $who.csr
      printf '%s\n' subjectAltName=DNS:localhost,IP:127.0.0.1 extendedKeyUsage=serverAuth,clientAuth basicConstraints=CA:FALSE >$who.ext
      openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile $who.ext -out $who.pem
    done
    rm -f ./*.csr ./*.ext ./*.srl
  ) >"$DIR/tls.log" 2>&1 || die "the certificates could not be made; see $DIR/tls.log"
}

# --- settings --------------------------------------------------------------------------------------------------------
# The settings that follow from the options, one a line.
option_settings() {
  local providers=() plugin=org.apache.pulsar.broker.authentication
  if ((TOKEN)); then
    providers+=("$plugin.AuthenticationProviderToken")
    printf '%s\n' "tokenSecretKey=file://$DIR/auth/secret.key" \
      brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken \
      "brokerClientAuthenticationParameters=token:$(<"$DIR/auth/admin.token")"
  fi
  if ((TLS)); then
    printf '%s\n' "brokerServicePortTls=$TLS_PORT" "webServicePortTls=$HTTPS" webServiceTlsProvider= \
      "tlsCertificateFilePath=$DIR/tls/server.pem" "tlsKeyFilePath=$DIR/tls/server.key" "tlsTrustCertsFilePath=$DIR/tls/ca.pem" \
      "brokerClientTrustCertsFilePath=$DIR/tls/ca.pem"
  fi
  ((MTLS)) && providers+=("$plugin.AuthenticationProviderTls")
  if ((${#providers[@]})); then
    printf '%s\n' authenticationEnabled=true authorizationEnabled=true superUserRoles=admin,client \
      "authenticationProviders=$(IFS=,; echo "${providers[*]}")"
  fi
  ((WORKER)) && echo functionsWorkerEnabled=true
  printf '%s\n' "${SETS[@]}"
}
# The distribution's own conf folder, with standalone.overrides.conf, the options and --set laid over it, key by key.
make_conf() {
  local conf=$DIR/conf
  rm -rf "$conf"
  cp -R "$DIST/conf" "$conf"
  {
    sed -e "s/@PORT@/$PORT/; s/@HTTP@/$HTTP/; s/@DEDUP@/$DEDUP/; s/@TRANSACTIONS@/$TRANSACTIONS/; s/@FSYNC@/$FSYNC/" "$HERE/standalone.overrides.conf"
    option_settings
  } >"$conf/over"
  # One line a key, the last one wins: BookKeeper's reader would make a list of a key that is there twice.
  awk -F= '/^[[:space:]]*(#|$)/ { next }
    { key = $1; gsub(/[[:space:]]/, "", key); if (!(key in values)) order[++n] = key; values[key] = substr($0, index($0, "=") + 1) }
    END { for (i = 1; i <= n; i++) print order[i] "=" values[order[i]] }' "$DIST/conf/standalone.conf" "$conf/over" >"$conf/standalone.conf"
  rm "$conf/over"
  sed -i 's/size: 1 GB/size: 50 MB/' "$conf/log4j2.yaml"
  ((WORKER)) || return 0
  mkdir -p "$DIR"/functions/{download,connectors,functions}
  sed -i -e "s#^downloadDirectory:.*#downloadDirectory: $DIR/functions/download#; s#^connectorsDirectory:.*#connectorsDirectory: $DIR/functions/connectors#" \
    -e "s#^functionsDirectory:.*#functionsDirectory: $DIR/functions/functions#; s#logDirectory: logs/#logDirectory: $DIR/logs#" "$conf/functions_worker.yml"
}

# --- what users of the broker need to know ---------------------------------------------------------------------------
write_env() {
  {
    printf 'RIG_HTTP=%s\nRIG_TOKEN=%s\nRIG_WORKER=%s\n' "$HTTP" "$TOKEN" "$WORKER"
    printf 'export PULSAR_SERVICE_URL=%q\nexport PULSAR_ADMIN_URL=%q\n' "pulsar://127.0.0.1:$PORT" "http://127.0.0.1:$HTTP"
    ((TLS)) && printf 'export PULSAR_TLS_URL=%q\nexport PULSAR_ADMIN_TLS_URL=%q\nexport PULSAR_TLS_CA=%q\nexport PULSAR_TLS_CLIENT_CERT=%q\nexport PULSAR_TLS_CLIENT_KEY=%q\n' \
      "pulsar+ssl://localhost:$TLS_PORT" "https://localhost:$HTTPS" "$DIR/tls/ca.pem" "$DIR/tls/client.pem" "$DIR/tls/client.key"
    ((TOKEN)) && printf 'export PULSAR_ADMIN_TOKEN_FILE=%q\nexport PULSAR_TOKEN_KEY_FILE=%q\n' "$DIR/auth/admin.token" "$DIR/auth/secret.key"
    printf 'export PULSAR_RIG_DIR=%q\nexport PULSAR_RIG_HOME=%q\n' "$DIR" "$DIST"
  } >"$DIR/env"
}
load_env() { [[ -f $DIR/env ]] || die "no broker was ever started in $DIR"; source "$DIR/env"; }
print_env() { grep '^export' "$DIR/env"; echo "export PULSAR_PID=$(find_pid)"; }
