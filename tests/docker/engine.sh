# A Docker engine of the tests' own, in the directory $1, for as long as somebody holds stdin open. $2 is
# what it puts in front of the app for `docker run --init`.
# Runs as PID 1 of a pid and a mount namespace: when it ends, for whatever reason, the kernel takes
# every shim, container and mount with it.
dir=$1
PATH=$PATH:/usr/sbin:/sbin

mount --make-rprivate /
# An engine that finds the system's containerd uses it; that one does not see the mounts made here.
if [ -d /run/containerd ]; then mount -t tmpfs none /run/containerd; fi
# A machine that never ran containers may have no control groups mounted.
grep -q '^[^ ]* /sys/fs/cgroup' /proc/mounts || mount -t cgroup2 none /sys/fs/cgroup

# No bridge and no packet filter: containers get the host's network or none, and the host keeps its own.
exec 3<&0
dockerd --init-path "$2" --bridge=none --iptables=false --ip6tables=false \
    --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
    --host "unix://$dir/sock" </dev/null 3<&- >"$dir/log" 2>&1 &
engine=$!

# End of file: the test binary has ended. (What runs in the background has no stdin, hence the 3.)
{ read -r _ <&3; kill -TERM "$engine"; } &
wait "$engine"
