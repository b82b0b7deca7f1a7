#!/usr/bin/env bash
# The main job on a fresh machine: builds graceinit, and rehearses a stop of nginx under load, under tini and under
# graceinit. Everything happens in a temporary folder and on 127.0.0.1.
set -euo pipefail
exec 2>&1
cd "$(dirname "$0")/.."

# A linker for cargo, a server, and the init to compare with, if the machine has none.
missing=
command -v cc >/dev/null || missing="gcc libc6-dev"
command -v nginx >/dev/null || missing="$missing nginx-light"
command -v tini >/dev/null || missing="$missing tini"
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
head -c 20000 /dev/zero >"$dir/file"
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
  server { listen 127.0.0.1:$port; root $dir; }
}
CONF
nginx="nginx -e stderr -c $dir/nginx.conf"

echo "\$ graceinit --rehearse=k8s:30s --only --url :$port/file -- tini -- nginx"
# shellcheck disable=SC2086 # words
"$graceinit" --rehearse=k8s:30s --only --url ":$port/file" -- tini -- $nginx && exit 1
echo
echo "\$ graceinit --rehearse=k8s:30s --only --url :$port/file --profile nginx --drain $port --drain-idle 1s -- nginx"
# shellcheck disable=SC2086 # words
"$graceinit" --rehearse=k8s:30s --only --url ":$port/file" --profile nginx --drain "$port" --drain-idle 1s -- $nginx
