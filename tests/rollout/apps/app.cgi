#!/bin/sh
# For uWSGI.
IFS=/
# shellcheck disable=SC2086 # the words of the path
set -- $REQUEST_URI
kind=$2 ms=$3
printf 'Content-Type: text/plain\r\n\r\n'
if [ "$kind" = stream ]; then
    piece=1
    while [ $piece -le $((ms / 250)) ]; do
        sleep 0.25
        echo "piece $piece"
        piece=$((piece + 1))
    done
else
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
fi
echo "$REQUEST_URI done"
