#!/usr/bin/env bash
# The main job on a fresh machine: builds graceinit, wraps a real server (nginx), starts a download that
# takes two seconds, asks for a stop in the middle of it, and shows the phases. Everything happens in
# a temporary folder and on 127.0.0.1.
set -euo pipefail
exec 2>&1
cd "$(dirname "$0")/.."

# A linker for cargo and a server to wrap, if the machine has none.
missing=
command -v cc >/dev/null || missing="gcc libc6-dev"
command -v nginx >/dev/null || missing="$missing nginx-light"
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || { echo "run this first: sudo apt-get install $missing"; exit 1; }
  echo "installing $missing"
  # shellcheck disable=SC2086 # a list of names
  install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1; }
  install || { apt-get update -qq && install; } || { echo "apt-get could not install $missing"; exit 1; }
fi
cargo build --release --locked --quiet
graceinit=$(ls -t target/*/release/graceinit | head -n 1)

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
head -c 2000000 /dev/zero >"$dir/file"
# Any port that is free now.
port=18080
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
cat >"$dir/nginx.conf" <<CONF
daemon off;
pid $dir/pid;
error_log stderr error;
events {}
http {
  access_log off;
  client_body_temp_path $dir/a; proxy_temp_path $dir/b; fastcgi_temp_path $dir/c;
  uwsgi_temp_path $dir/d; scgi_temp_path $dir/e;
  server { listen 127.0.0.1:$port; root $dir; limit_rate 1m; }
}
CONF

echo "\$ graceinit -v --grace 10s --pre-stop 'echo ...' --post-stop 'echo ...' --profile nginx -- nginx"
"$graceinit" -v --grace 10s --profile nginx \
  --pre-stop 'echo telling the others that we leave' --post-stop 'echo all is tidy' \
  -- nginx -c "$dir/nginx.conf" -e stderr &
init=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 $init; done

# A client reads the file; nginx gives it one megabyte a second.
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /file HTTP/1.0\r\n\r\n' >&3
read -r answer <&3
echo "download: $answer - and now a SIGTERM:"
kill -TERM $init
bytes=$(sed '1,/^\r$/d' <&3 | wc -c)
code=0
wait $init || code=$?
echo "download: $bytes of 2000000 bytes arrived; graceinit left with $code, the exit code of nginx"
[ "$bytes" = 2000000 ] && [ "$code" = 0 ]
